"""Fixtures: the blog on PostgreSQL, under gunicorn with two workers of four threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def site(gunicorn: Callable[..., Any], database_url: str) -> str:
    server = gunicorn(DATABASE_URL=database_url, WEB_CONCURRENCY=2, WEB_THREADS=4)
    return f"http://127.0.0.1:{server.port}"
