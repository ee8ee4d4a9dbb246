"""Which clients get JSON: those that name it and weigh it above HTML."""

from __future__ import annotations

import pytest

from flask_mayday.pages.negotiation import prefers_json
from tests.support.accept import WANTS_JSON


@pytest.mark.parametrize(("accept", "json"), WANTS_JSON)
def test_json_is_for_clients_that_name_it_and_prefer_it(accept: str, json: bool) -> None:
    assert prefers_json(accept) is json
