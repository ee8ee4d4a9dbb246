"""The renewal of the ACME certificate: what it leaves for `make up` to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_a_renewal_by_hand_replaces_the_reason_of_the_last_failure(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewal = load("docker/acme/renewal.py")
    monkeypatch.setattr(renewal, "OUTCOME", tmp_path / "outcome")
    for failure in ("Port 80 is closed.", ""):
        monkeypatch.setattr(renewal, "obtain", lambda *options, result=failure: result)
        assert renewal.main(["now"]) == bool(failure)
        assert renewal.OUTCOME.read_text() == failure


def test_an_unknown_argument_starts_no_second_renewal(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    renewal = load("docker/acme/renewal.py")
    monkeypatch.setattr(renewal, "deploy", lambda: pytest.fail("it has begun to renew"))
    with pytest.raises(SystemExit, match=r"renewal\.py now"):
        renewal.main(["Now"])
