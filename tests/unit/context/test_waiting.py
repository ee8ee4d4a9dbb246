"""How long a request has waited, by the clock of the proxy in front of the app."""

from __future__ import annotations

import time

import pytest

from flask_mayday.context import waiting


@pytest.mark.parametrize(("ahead", "warnings"), [(0.9, 0), (60, 1)])
def test_a_proxy_whose_clock_is_a_little_ahead_is_believed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ahead: float, warnings: int
) -> None:
    monkeypatch.setattr(waiting, "_has_warned", False)
    assert waiting.seconds_since(f"{time.time() + ahead:.3f}", 30) == 0
    assert len(caplog.records) == warnings
