"""Metrics of a real gunicorn: one answer for all workers, which keeps what dead ones counted."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.conftest import Gunicorn
from tests.support.compose import free_port
from tests.unit.metrics.conftest import samples

WaitUntil = Callable[..., Any]
LOGIN = 'mayday_http_requests_total{method="GET",route="/login",status="200"}'


class Measured:
    """A gunicorn with metrics, and the scrapes of its status port."""

    def __init__(self, server: Gunicorn, status_port: int) -> None:
        self.server = server
        self.status_port = status_port

    def scrape(self) -> dict[str, float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=60)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200
            return samples(answer.read().decode())
        finally:
            connection.close()


@pytest.fixture
def measured(gunicorn: Callable[..., Gunicorn]) -> Callable[..., Measured]:
    """Return a factory of servers with metrics: ``measured(WEB_CONCURRENCY=4)``."""

    def start(**settings: object) -> Measured:
        port = free_port()
        status = {"METRICS": 1, "STATUS_PORT": port}
        server = gunicorn("--bind", f"127.0.0.1:{port}", **status, **settings)
        return Measured(server, port)

    return start


def folder_of(server: Gunicorn) -> Path:
    """Return the folder with the files of the processes, which the master has mapped."""
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    found = re.search(r"(/\S*/flask-mayday-metrics-[^/]+)/", maps)
    assert found
    return Path(found[1])


def test_sixty_dead_workers_leave_no_series_and_lose_no_count(
    measured: Callable[..., Measured], wait_until: WaitUntil
) -> None:
    one = measured(WEB_CONCURRENCY=2)
    folder = folder_of(one.server)

    def is_counted(number: int) -> dict[str, float]:
        """Return a scrape once it has that many requests: they are counted after the response."""
        found: dict[str, float] = wait_until(
            lambda: found if (found := one.scrape()).get(LOGIN) == number else None,
            f"request {number} in a scrape",
        )
        return found

    killed: set[int] = set()

    def two_workers() -> set[int] | None:
        found = set(one.server.workers()) - killed
        return found if len(found) == 2 else None

    one.server.request("/login")
    first = is_counted(1)
    for number in range(2, 32):
        for pid in wait_until(two_workers, "two workers"):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        # Waits in the queue until there is a worker again.
        assert one.server.request("/login").status == 200
        is_counted(number)
    last = one.scrape()
    assert set(last) == set(first)
    assert last["mayday_workers_lost_total"] == 60
    assert last["mayday_workers_started_total"] in (61, 62)
    assert last["mayday_http_requests_in_flight"] == 0
    # Three kinds each for the master, two workers, and all dead ones together; and two workers
    # that may have died during a scrape.
    assert len(list(folder.glob("*.db"))) <= 3 * 6
    one.server.stop()
    assert not folder.exists()


def test_a_server_goes_on_without_its_folder(
    measured: Callable[..., Measured], wait_until: WaitUntil
) -> None:
    one = measured(WEB_CONCURRENCY=1)
    shutil.rmtree(folder_of(one.server))
    (worker,) = one.server.workers()
    os.kill(worker, signal.SIGKILL)
    assert one.server.request("/login").status == 200
    assert one.server.request("/login").status == 200
    assert "Metrics are incomplete" in one.server.output


def test_what_happens_to_the_log_is_counted_and_scrapes_do_not_fill_it(
    measured: Callable[..., Measured], wait_until: WaitUntil
) -> None:
    one = measured(WEB_CONCURRENCY=2, LOG_MAX_BYTES=8192)
    one.scrape()
    one.server.request("/metrics")
    log = one.server.log
    wait_until(lambda: '"GET /metrics" 404' in log.read_text(), "the access line")
    assert '"GET /metrics" 200' not in log.read_text()
    burst = ("/drill/log-burst", "POST", urlencode({"lines": 200}))
    assert one.server.request(*burst).status == 200
    before = one.scrape()
    backups = len(list(log.parent.glob("microblog.log.*")))
    assert 0 < backups <= before["mayday_log_rotations_total"]
    assert before["mayday_log_failed_writes_total"] == 0
    log.parent.rename(one.server.folder / "moved")
    log.parent.touch()
    one.server.request(*burst)
    assert one.scrape()["mayday_log_failed_writes_total"] >= 200


def test_a_worker_that_stops_in_an_orderly_way_is_not_lost(
    measured: Callable[..., Measured], wait_until: WaitUntil
) -> None:
    one = measured(WEB_CONCURRENCY=2)
    wait_until(lambda: one.scrape()["mayday_workers_started_total"] == 2, "both workers")
    one.server.process.send_signal(signal.SIGTTOU)
    wait_until(lambda: len(one.server.workers()) == 1, "one worker less")
    found = one.scrape()
    assert found["mayday_workers_started_total"] == 2
    assert found["mayday_workers_lost_total"] == 0


def test_metrics_without_a_port_stop_the_start(
    refused_gunicorn: Callable[..., tuple[int, str]],
) -> None:
    status, output = refused_gunicorn(METRICS="1")
    assert status != 0
    assert "Set STATUS_PORT=8001" in output
