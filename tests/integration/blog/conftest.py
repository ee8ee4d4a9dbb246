"""Fixtures: the blog on PostgreSQL, under gunicorn with two workers of four threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import TEMPLATE


@pytest.fixture(scope="module")
def site(module_gunicorn: Callable[..., Any], postgres_server: Any) -> Iterator[str]:
    """Return the address of a blog that a module's tests share."""
    name = postgres_server.create_database(TEMPLATE)
    url = postgres_server.url(name)
    server = module_gunicorn(DATABASE_URL=url, WEB_CONCURRENCY=2, WEB_THREADS=4)
    yield f"http://127.0.0.1:{server.port}"
    postgres_server.drop_database(name)
