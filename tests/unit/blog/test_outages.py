"""Errors of SQLite that mean "not now"; those of PostgreSQL are raised by a real server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import outages
from app.database import db
from flask_mayday.report.report import Report


@pytest.mark.parametrize("code", outages.SQLITE_CODES)
def test_a_code_of_sqlite_is_an_outage_in_all_its_extended_forms(code: int) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code | 5 << 8  # type: ignore[misc]
    wrapped = OperationalError("SELECT 1", None, error)
    assert outages.outage(wrapped) == outages.SQLITE_CODES[code]


def test_a_locked_file_of_sqlite_is_a_503_and_a_wrong_query_a_500(
    make_app: Callable[..., Flask], tmp_path: Path, read_reports: Callable[[], list[Report]]
) -> None:
    app = make_app()
    for name, statement in (
        ("/write", "INSERT INTO post (body) VALUES ('x')"),
        ("/wrong", "SELECT 1 FROM no_such_table"),
    ):
        app.add_url_rule(name, name, lambda s=statement: str(db.session.execute(text(s))))
    with app.app_context():
        db.create_all()
        db.session.execute(text("PRAGMA busy_timeout = 50"))
        db.session.commit()
    other = sqlite3.connect(tmp_path / "microblog.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    locked = app.test_client().get("/write")
    other.close()
    assert (locked.status_code, int(locked.headers["Retry-After"]) > 0) == (503, True)
    assert app.test_client().get("/wrong").status_code == 500
    assert [report.type for report in read_reports()] == ["OperationalError"] * 2
