"""Fixtures: the blog on SQLite, without a server, and its visitors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.security import generate_password_hash

from app.database import db
from app.models import User
from tests.support.visitor import PASSWORD, Page, Visitor


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
        # The usual hash is slow on purpose.
        fast_hash = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")
        email = f"{username}@example.com"
        db.session.add(User(username=username, email=email, password_hash=fast_hash))
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
