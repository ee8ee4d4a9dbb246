"""Which clients get JSON: those that name it and weigh it above HTML."""

from __future__ import annotations

import pytest

from app.errors.plain import prefers_json

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        (BROWSER, False),
        ("application/*", False),
        ("text/plain", False),
        ("application/json", True),
        ("application/problem+json", True),
        ("Application/JSON", True),
        ("application/json; charset=utf-8", True),
        ("application/json, */*", False),
        ("application/json, */*;q=0.5", True),
        ("application/json, text/html", False),
        ("text/html, application/json", False),
        ("application/json, text/html;q=0.9", True),
        ("application/json;q=0.9, text/html", False),
        ("application/json;q=0.9, text/html;q=0.8", True),
        ("application/json;q=0.5, application/problem+json;q=0.9, text/html;q=0.8", True),
        ("application/json;q=0", False),
        ("application/json;q=0, text/html;q=0", False),
        ("application/json;q=0.1", True),
        ("application/json, text/*", False),
        ("application/json, text/*;q=0.1", True),
        ("application/json;q=nonsense", False),
        ("application/jsonp", False),
        (",;,=", False),
        ("application/json" + ";" * 5000, True),
    ],
)
def test_json_is_for_clients_that_name_it_and_prefer_it(accept: str, json: bool) -> None:
    assert prefers_json(accept) is json
