"""Health: whether the process serves, and whether it can serve a visitor."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from app.reports.report import Report

GONE = "postgresql://nobody@127.0.0.1:1/none"  # nothing listens on port 1


def test_a_process_is_live_without_its_database(make_app: Callable[..., Flask]) -> None:
    answer = make_app(DATABASE_URL=GONE).test_client().get("/health/live")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_a_process_is_ready_with_its_database(make_app: Callable[..., Flask]) -> None:
    answer = make_app().test_client().get("/health/ready")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok"})


def test_a_process_is_not_ready_without_its_database_and_that_is_no_error(
    make_app: Callable[..., Flask], read_reports: Callable[[], list[Report]]
) -> None:
    answer = make_app(DATABASE_URL=GONE).test_client().get("/health/ready")
    assert answer.status_code == 503
    assert answer.json == {"status": "unavailable", "database": "OperationalError"}
    assert "X-Request-ID" in answer.headers
    assert read_reports() == []
