"""The watch as a process: it delivers, it comes back, it sends mails without a spool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.settings import WatchSettings
from flask_mayday.watch.certificate import certificate_conditions, validity
from flask_mayday.watch.site import Site
from tests.integration.conftest import MailServer
from tests.integration.mail.conftest import Authority, Server
from tests.integration.mail.conftest import authority as authority
from tests.integration.mail.conftest import make_server as make_server
from tests.support.web_server import WebServer, web_server

WaitUntil = Callable[..., Any]


@pytest.fixture
def site() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture
def heartbeats() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


class Watch:
    """The process, which can be killed and started again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask_mayday.watch"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; return the exit status and the output."""
        assert self.process is not None
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


@pytest.fixture
def watch(
    tmp_path: Path, smtp_server: MailServer, site: WebServer, heartbeats: WebServer
) -> Iterator[Watch]:
    settings = {
        "LOG_DIR": str(tmp_path / "logs"),
        "LOG_FILE": "microblog.log",
        "SPOOL_DIR": str(tmp_path / "spool"),
        "APP_NAME": "Microblog",
        "REPORT_WINDOW": "1",
        "WATCH_URL": site.url,
        "HEARTBEAT_URL": f"{heartbeats.url}/ping/not-for-the-log",
        **smtp_server.settings,
    }
    environment = {**os.environ, **{f"MAYDAY_{name}": text for name, text in settings.items()}}
    running = Watch(environment)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.end(signal.SIGKILL)


def test_an_outage_is_mailed_once_across_a_kill_and_ends_with_one_mail(
    watch: Watch,
    site: WebServer,
    heartbeats: WebServer,
    smtp_server: MailServer,
    wait_until: WaitUntil,
    all_log_lines: Callable[[], list[str]],
) -> None:
    watch.start()
    wait_until(lambda: heartbeats.paths, "a heartbeat")
    site.status = 502
    wait_until(smtp_server.subjects, "the mail")
    subject = "[Microblog] Alert: The site does not answer: 502 Bad Gateway."
    assert smtp_server.subjects() == [subject]
    watch.end(signal.SIGKILL)
    watch.start()
    looked = len(site.paths)
    wait_until(lambda: len(site.paths) > looked + 4, "looks of the new process")
    site.status = 200

    def mails() -> list[str]:
        """Return the subject of each mail; one that a killed process has sent may come again."""
        return list({mail["Message-ID"]: mail["Subject"] for mail in smtp_server.mails}.values())

    wait_until(lambda: len(mails()) > 1, "the second mail")
    first, second = mails()
    assert first == subject
    assert "[Microblog] Recovered: The site answers again. It was down for " in second
    status, output = watch.end(signal.SIGTERM)
    assert status == 0
    assert "Watch shutdown" in output
    assert "not-for-the-log" not in output + "".join(all_log_lines())
    assert heartbeats.paths[0] == "/ping/not-for-the-log"


def test_without_a_spool_it_sends_the_mail_itself(
    watch: Watch, site: WebServer, smtp_server: MailServer, wait_until: WaitUntil, tmp_path: Path
) -> None:
    (tmp_path / "spool").write_text("in the way")
    watch.start()
    wait_until(lambda: len(site.paths) > 1, "a look at the site")
    site.status = 503

    def about_the_site() -> list[str]:
        return [one for one in smtp_server.subjects() if "does not answer" in one]

    wait_until(about_the_site, "the mail")
    (mail,) = [one for one in smtp_server.mails if "does not answer" in one["Subject"]]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "directly by watch, because the spool failed" in text
    (other,) = [one for one in smtp_server.subjects() if one not in about_the_site()]
    assert "The spool cannot be written" in other


def test_an_invalid_setting_ends_it_with_the_fix(watch: Watch) -> None:
    watch.environment["MAYDAY_WATCH_URL"] = "nginx:8080"
    watch.start()
    assert watch.process is not None
    output, _ = watch.process.communicate(timeout=60)
    assert watch.process.returncode == 2
    assert "WATCH_URL is 'nginx:8080': use a URL such as http://nginx:8080." in output


# The certificate of the site


def test_a_certificate_of_any_issuer_is_reported_before_it_expires(
    make_server: Callable[..., Server], authority: Authority
) -> None:
    port = int(str(make_server("tls", "good").settings["MAIL_PORT"]))
    begins, expires = validity("127.0.0.1", port, "blog.example")
    now = time.time()
    assert begins <= now < expires <= now + 3 * 86_400
    (fine,) = certificate_conditions("127.0.0.1", port, "blog.example", begins)
    assert fine.alert is None
    (soon,) = certificate_conditions("127.0.0.1", port, "blog.example", expires - 3600)
    assert soon.alert is not None
    assert soon.alert.what == "The certificate of blog.example expires in 1 h"


def test_an_expired_certificate_is_reported(make_server: Callable[..., Server]) -> None:
    port = int(str(make_server("tls", "expired").settings["MAIL_PORT"]))
    (condition,) = certificate_conditions("127.0.0.1", port, "x.example", time.time())
    assert condition.alert is not None
    assert "has expired" in condition.alert.what
    assert "Valid until" not in condition.alert.details


def test_a_certificate_that_cannot_be_read_changes_nothing(free_port: Callable[[], int]) -> None:
    found = certificate_conditions("127.0.0.1", free_port(), "x.example", time.time())
    assert list(found) == []


def test_a_site_that_redirects_to_https_is_asked_there_under_its_name(
    site: WebServer, authority: Authority
) -> None:
    asked: list[str | None] = []
    context = authority.context("good")
    context.sni_callback = lambda connection, name, context: asked.append(name)
    with web_server(context) as encrypted:
        encrypted.status = 502
        site.status = 301
        site.headers = {"Location": "https://blog.example/health/live"}
        settings = WatchSettings(site_url=site.url, https_port=encrypted.port)
        watched = Site(settings)
        assert watched.check(1.0).trouble == "502 Bad Gateway"
        encrypted.status = 200
        assert watched.check(1.0).trouble == ""
        assert watched.tls == ("127.0.0.1", encrypted.port, "blog.example")
    assert set(asked) == {"blog.example"}
    assert "connection was refused" in watched.check(1.0).trouble
