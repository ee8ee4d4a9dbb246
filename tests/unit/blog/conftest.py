"""Fixtures: the blog on SQLite, without a server, and its visitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy import event

from app import passwords
from app.auth import throttle
from app.database import db
from app.models import User, now
from tests.support.visitor import PASSWORD, Page, Visitor

FAST_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
FAST_HASH = FAST_HASHER.hash(PASSWORD)


class ClientVisitor(Visitor):
    """A visitor that calls the app through Flask's test client."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def open(self, path: str, **fields: str) -> Page:
        if fields:
            response = self.client.post(path, data=fields, follow_redirects=True)
        else:
            response = self.client.get(path, follow_redirects=True)
        return Page(response.status_code, response.request.full_path.rstrip("?"), response.text)


@pytest.fixture(autouse=True)
def fast_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let passwords be hashed quickly: the usual hash is slow on purpose."""
    monkeypatch.setattr(passwords, "HASHER", FAST_HASHER)
    monkeypatch.setattr(passwords, "DUMMY", FAST_HASH)


@dataclass
class Clock:
    """The simulated time of the counters of failed logins."""

    time: datetime

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(now())
    monkeypatch.setattr(throttle, "now", lambda: clock.time)
    return clock


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    app = make_app(DRILL=True)
    with app.app_context():
        db.create_all()
    return app


@pytest.fixture
def visitor(app: Flask) -> ClientVisitor:
    return ClientVisitor(app)


@pytest.fixture
def susan(app: Flask) -> ClientVisitor:
    """A visitor who is logged in as susan."""
    return _logged_in(app, "susan")


@pytest.fixture
def john(app: Flask) -> ClientVisitor:
    """A visitor who is logged in as john."""
    return _logged_in(app, "john")


def _logged_in(app: Flask, username: str) -> ClientVisitor:
    with app.app_context():
        email = f"{username}@example.com"
        db.session.add(User(username=username, email=email, password_hash=FAST_HASH))
        db.session.commit()
    visitor = ClientVisitor(app)
    visitor.log_in(username)
    return visitor


@pytest.fixture
def queries(app: Flask) -> Callable[[], Iterator[list[str]]]:
    """Return a context manager that collects the SQL statements executed inside it."""

    @contextmanager
    def collect() -> Iterator[list[str]]:
        statements: list[str] = []

        def collect_statement(connection, cursor, statement, *_) -> None:
            statements.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", collect_statement)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", collect_statement)

    return collect
