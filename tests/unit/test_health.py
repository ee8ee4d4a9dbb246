"""Health: whether the process serves, and whether it can serve a visitor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask

from flask_mayday.report.report import Report
from flask_mayday.spool.mailbox import Mailbox
from tests.support.reports import a_new_mail

GONE = "postgresql://nobody@127.0.0.1:1/none"  # nothing listens on port 1


def test_a_process_is_live_without_its_database(make_app: Callable[..., Flask]) -> None:
    answer = make_app(DATABASE_URL=GONE).test_client().get("/health/live")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "mail": "off", "spool": "ok", "log": "ok"}


def test_stuck_mail_is_shown_in_the_health_check(
    make_app: Callable[..., Flask], mail_settings: dict[str, object]
) -> None:
    app = make_app(**mail_settings)
    assert app.test_client().get("/health/live").json["mail"] == "ok"
    mailbox = Mailbox(app.extensions["mayday"].courier.outbox)
    two_hours_ago = time.time() - 7200
    mailbox.add_mail(a_new_mail(created=two_hours_ago))
    mailbox.close()
    answer = app.test_client().get("/health/live")
    assert answer.status_code == 200
    since = datetime.fromtimestamp(two_hours_ago, UTC).isoformat(timespec="seconds")
    assert answer.json["mail"] == f"stuck since {since}"


def test_a_spool_that_cannot_be_written_or_read_is_shown_in_the_health_check(
    make_app: Callable[..., Flask], mail_settings: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "spool").touch()
    app = make_app(**mail_settings)
    logging.getLogger("app").error("boom")
    answer = app.test_client().get("/health/live").json
    assert answer["spool"] == "cannot be written; 1 report is held in memory only"
    (tmp_path / "spool").unlink()
    (tmp_path / "spool" / "reports.db").mkdir(parents=True)
    assert app.test_client().get("/health/live").json["mail"].startswith("unknown, the spool")


def test_a_log_that_cannot_be_written_is_shown_in_the_health_check(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    (tmp_path / "logs").touch()
    client = make_app().test_client()
    logging.getLogger("app").warning("not written")
    answer = client.get("/health/live")
    assert answer.status_code == 200
    assert answer.json["log"] == "File exists"
    (tmp_path / "logs").unlink()
    logging.getLogger("app").warning("written")
    assert client.get("/health/live").json["log"] == "ok"


def test_a_process_is_ready_with_its_database(make_app: Callable[..., Flask]) -> None:
    answer = make_app().test_client().get("/health/ready")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "database": "ok"})


def test_a_process_is_not_ready_without_its_database_and_that_is_no_error(
    make_app: Callable[..., Flask], read_reports: Callable[[], list[Report]]
) -> None:
    answer = make_app(DATABASE_URL=GONE).test_client().get("/health/ready")
    assert answer.status_code == 503
    assert answer.json == {"status": "unavailable", "database": "OperationalError"}
    assert "X-Request-ID" in answer.headers
    assert read_reports() == []


def test_the_status_port_serves_health_checks_only_and_believes_no_header(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAYDAY_STATUS_PORT", "8001")
    client = make_app(TRUSTED_PROXIES=1).test_client()
    sent = {"X-Request-ID": "f" * 32, "X-Forwarded-For": "192.0.2.7"}
    inner = {"SERVER_PORT": "8001"}
    assert client.get("/health/live", headers=sent).headers["X-Request-ID"] == "f" * 32
    for path, status in (("/health/ready", 200), ("/health/live", 200), ("/explore", 404)):
        answer = client.get(path, headers=sent, environ_overrides=inner)
        assert answer.status_code == status
        assert answer.headers["X-Request-ID"] != "f" * 32
        assert answer.request.environ["REMOTE_ADDR"] == "127.0.0.1"
