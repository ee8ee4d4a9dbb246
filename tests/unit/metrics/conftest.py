"""Metrics that begin at zero in every test, and what a scrape finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from flask_mayday.metrics.instruments import instruments

STATUS_PORT = 8001
Scrape = Callable[[Flask], dict[str, float]]


@pytest.fixture(autouse=True)
def new_instruments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.setattr("flask_mayday.metrics.instruments._has_failed", False)
    instruments.cache_clear()
    yield
    instruments.cache_clear()


@pytest.fixture
def scrape() -> Scrape:
    """Return a function that scrapes an app: its samples, by their names with labels."""

    def scrape(app: Flask) -> dict[str, float]:
        answer = app.test_client().get("/metrics", base_url=f"http://web.inner:{STATUS_PORT}")
        assert answer.status_code == 200
        return samples(answer.text)

    return scrape


def samples(text: str) -> dict[str, float]:
    """Return the samples in a text of the OpenMetrics format."""
    assert text.endswith("# EOF\n")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
