"""A stand-in until the real fixture: MICROBLOG_TEST_PG names a cluster to make databases in."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psycopg2
import pytest
from flask_migrate import upgrade

from app import create_app


@pytest.fixture
def database_url() -> Iterator[str]:
    admin = os.environ.get("MICROBLOG_TEST_PG", "postgresql://postgres@127.0.0.1:5599/")
    name = f"t{uuid.uuid4().hex[:10]}"
    connection = psycopg2.connect(admin + "postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    url = admin + name
    app = create_app({"SECRET_KEY": "x" * 64, "DATABASE_URL": url})
    with app.app_context():
        upgrade()
    yield url
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()
