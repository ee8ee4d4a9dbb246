"""A slow SQL statement is logged as a warning, without its parameters."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask
from sqlalchemy import event, text

from app.database import db


def run_slow_statement(app: Flask, seconds: float) -> None:
    with app.app_context():

        @event.listens_for(db.engine, "connect")
        def add_sleep(connection: object, record: object) -> None:
            connection.create_function("sleep", 1, time.sleep)  # type: ignore[attr-defined]

        statement = text("SELECT sleep(:seconds),\n  :word")
        db.session.execute(statement, {"seconds": seconds, "word": "typed"}).all()


def test_a_slow_statement_is_a_warning_without_its_parameters(
    make_app: Callable[..., Flask], read_log: Callable[[], str]
) -> None:
    run_slow_statement(make_app(LOG_SLOW_MS=500), 0.55)
    (line,) = read_log().splitlines()
    assert " WARNING: Slow SQL, " in line
    assert "SELECT sleep(?), ? [in " in line
    assert "typed" not in line


def test_a_quick_statement_is_not_logged(
    make_app: Callable[..., Flask], read_log: Callable[[], str]
) -> None:
    run_slow_statement(make_app(LOG_SLOW_MS=60_000), 0.0)
    assert read_log() == ""
