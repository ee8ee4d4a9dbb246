"""The time limits of nginx, Compose and PostgreSQL stand in the order of those of the app."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.database import engine_options
from flask_mayday.settings import read_settings
from flask_mayday.time_limits import TimeLimits

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("request_timeout", [1, 2, 10, 30, 60, 3600])
def test_each_limit_ends_before_the_next(request_timeout: int) -> None:
    limits = read_settings({"REQUEST_TIMEOUT": request_timeout}).server.limits
    order = [limits.lock, limits.pool, limits.statement, limits.request, limits.proxy]
    order += [limits.retire, limits.heartbeat, limits.container]
    assert order == sorted(set(order))
    assert limits.request < limits.graceful < limits.proxy_stop < limits.container


def written_after_the_timeout(file: str, name: str) -> list[int]:
    """Return by how many seconds each ``name`` in a file exceeds REQUEST_TIMEOUT."""
    text = (ROOT / file).read_text()
    found = re.findall(rf"{name}:? \$\{{REQUEST_TIMEOUT(?::-30)?\}}s([0-9]+)(m?s)", text)
    return [int(number) // (1000 if unit == "ms" else 1) for number, unit in found]


def test_nginx_and_compose_have_the_limits_of_the_app() -> None:
    limits = TimeLimits(0)
    server, shutdown = "nginx/templates/microblog.conf.template", "nginx/templates/shutdown.main"
    assert written_after_the_timeout(server, "proxy_read_timeout") == [limits.proxy]
    assert written_after_the_timeout(f"{shutdown}.template", "worker_shutdown_timeout") == [
        limits.proxy_stop
    ]
    proxy, web = written_after_the_timeout("compose.yaml", "stop_grace_period")
    assert limits.proxy_stop < proxy
    assert web == limits.container


def test_the_demo_sets_the_limits_of_the_database() -> None:
    url = make_url("postgresql+psycopg2://web@db/microblog")
    options = engine_options(url, TimeLimits(30), threads=4)
    assert options["connect_args"]["options"] == "-c statement_timeout=28000 -c lock_timeout=2000"
    assert options["pool_size"] == 4
