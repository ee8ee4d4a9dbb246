"""What Prometheus gets from the watch."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.watch.exporter import Exporter
from flask_mayday.watch.machine_checks import MachineChecks
from flask_mayday.watch.site import SiteCheck
from flask_mayday.watch.watcher import Watcher
from tests.support.compose import free_port, wait_until
from tests.support.reports import a_new_mail
from tests.unit.metrics.conftest import samples


@pytest.fixture
def machine_checks(pipeline_with: Callable[..., Pipeline]) -> MachineChecks:
    return MachineChecks(Watcher(pipeline_with(WATCH_URL="http://nginx", METRICS="1")))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def scrape(machine_checks: MachineChecks, port: int) -> Iterator[Callable[[], dict[str, float]]]:
    """Return a function that scrapes a running exporter."""
    stopping = threading.Event()
    Exporter(machine_checks, "127.0.0.1", port).start(stopping)

    def get(path: str = "/metrics") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            return str(answer.read().decode())

    def is_up() -> bool:
        try:
            return bool(get())
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False

    wait_until(is_up, "an answer of the exporter")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/")
    yield lambda: samples(get())
    stopping.set()


def test_the_age_of_the_oldest_mail_is_exported(
    machine_checks: MachineChecks, scrape: Callable[[], dict[str, float]]
) -> None:
    assert scrape()['mayday_spool_oldest_seconds{kind="mail"}'] == 0
    mailbox = Mailbox(machine_checks.outbox)
    mailbox.add_mail(a_new_mail(created=time.time() - 100))
    mailbox.close()
    found = scrape()
    assert found['mayday_spool_depth{kind="mail"}'] == 1
    assert 100 <= found['mayday_spool_oldest_seconds{kind="mail"}'] < 160
    assert found["mayday_spool_trouble"] == 0
    assert found['mayday_error_groups{state="new"}'] == 0


def test_a_spool_that_cannot_be_read_is_trouble(
    machine_checks: MachineChecks, scrape: Callable[[], dict[str, float]]
) -> None:
    machine_checks.outbox.folder.mkdir(parents=True, exist_ok=True)
    machine_checks.outbox.path.write_bytes(b"no database" * 1000)
    found = scrape()
    assert found["mayday_spool_trouble"] == 1
    assert 'mayday_spool_depth{kind="mail"}' not in found


def test_a_spool_that_cannot_be_written_is_trouble(
    machine_checks: MachineChecks, scrape: Callable[[], dict[str, float]]
) -> None:
    machine_checks.spool_trouble = "No space left on device"
    assert scrape()["mayday_spool_trouble"] == 1


def test_the_site_and_the_pages_of_nginx_are_exported(
    machine_checks: MachineChecks, scrape: Callable[[], dict[str, float]]
) -> None:
    assert scrape()["mayday_site_up"] == 1
    machine_checks.watcher.last_check = SiteCheck(time.time(), "connection refused")
    machine_checks.watcher.edge_pages["502"] += 3
    found = scrape()
    assert found["mayday_site_up"] == 0
    assert found['mayday_edge_error_pages_total{status="502"}'] == 3
    assert found['mayday_edge_error_pages_total{status="504"}'] == 0


@pytest.mark.usefixtures("scrape")
def test_a_client_that_sends_nothing_leaves_no_traceback(
    port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_mayday.watch.exporter._Handler.timeout", 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        assert client.recv(1) == b""  # the server has closed the connection
    assert "Traceback" not in capfd.readouterr().err


def test_rotations_of_its_own_are_exported(
    machine_checks: MachineChecks, scrape: Callable[[], dict[str, float]]
) -> None:
    before = scrape()["mayday_log_rotations_total"]
    log = machine_checks.pipeline.log_file
    log.write(b"x" * 200 + b"\n")
    log.write(b"x" * log.max_bytes + b"\n")
    assert scrape()["mayday_log_rotations_total"] == before + 1
