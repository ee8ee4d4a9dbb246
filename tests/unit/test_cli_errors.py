"""``flask mayday reports errors``, ``mute``, ``unmute``, ``resolve`` and ``ignore``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from flask_mayday.spool.groups import note_release
from flask_mayday.spool.mailbox import Mailbox
from tests.support.reports import a_report
from tests.support.webhook_server import WebhookServer

A, B = "1a" + "0" * 14, "1b" + "0" * 14


class Shell:
    """The commands of an app, and the courier's side of its spool."""

    def __init__(self, app: Flask) -> None:
        self.cli: FlaskCliRunner = app.test_cli_runner()
        self.outbox = app.extensions["mayday"].courier.outbox
        self.mailbox = Mailbox(self.outbox)

    def record(self, fingerprint: str, **fields: object) -> None:
        report = a_report(f"boom {fingerprint}", fingerprint=fingerprint, **fields)
        self.outbox.put(report, mailable=True)
        self.mailbox.take_incoming()

    def run(self, *arguments: str, status: int = 0) -> str:
        result = self.cli.invoke(args=["reports", *arguments])
        assert result.exit_code == status, result.output
        return result.output


@pytest.fixture
def shell(make_app: Callable[..., Flask]) -> Iterator[Shell]:
    app = make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, ADMINS="a@example.com", RELEASE="1.4")
    made = Shell(app)
    made.record(A, type="ValueError", release="1.3")
    made.record(A, type="ValueError", release="1.4")
    made.record(B, type="KeyError", time=7.0, logger="app.feeds")
    yield made
    made.mailbox.close()


def test_errors_are_listed_one_line_each_the_latest_first(shell: Shell) -> None:
    first, second = shell.run("errors").splitlines()
    assert re.match(rf"{A}  new +2 errors, 0 mails, first \d{{4}}-.*, release 1\.4  Value", first)
    assert second.startswith(f"{B}  new ")
    assert re.search(r"KeyError: boom .* \(app\.feeds\)$", second)
    assert shell.run("errors", "--state", "muted") == ""
    assert "1 more group" in shell.run("errors", "--last", "1")


def test_an_error_is_muted_shown_and_unmuted(shell: Shell) -> None:
    assert "muted until `flask mayday reports unmute`" in shell.run("mute", A[:4])
    assert "muted " in shell.run("errors").splitlines()[0]
    shell.record(A)
    assert "3 errors (3 hidden)" in shell.run("errors", "--state", "muted")
    assert "3 errors hidden" in shell.run("unmute", A)
    assert "is not muted" in shell.run("unmute", A, status=1)


def test_an_error_is_muted_for_a_time_or_until_a_release(shell: Shell) -> None:
    assert re.search(r"muted until \d{4}-\d\d-\d\d", shell.run("mute", A, "--for", "7d"))
    assert "a release other than 1.4" in shell.run("mute", A, "--until-release")
    shell.record(A, release="1.5")
    assert "new " in shell.run("errors").splitlines()[0]


@pytest.mark.parametrize("duration", ["7", "0d", "-1d", "1y", "99999999999w", "523w", "7d7d", "x"])
def test_a_wrong_duration_is_refused_with_an_example(shell: Shell, duration: str) -> None:
    output = " ".join(shell.run("mute", A, f"--for={duration}", status=2).split())
    assert f"{duration!r} is not a duration of up to 10 years: write 30m, 12h, 7d or 2w" in output


def test_an_empty_fingerprint_names_no_error(make_app: Callable[..., Flask]) -> None:
    alone: Any = Shell(make_app())
    alone.record(A)
    assert "Give the fingerprint" in alone.run("mute", "", status=2)
    assert " new " in alone.run("errors")
    alone.mailbox.close()


def test_an_error_is_resolved_in_a_release(shell: Shell) -> None:
    assert re.search(r"resolved \d{4}-.* in release 1\.4", shell.run("resolve", A))
    shell.record(A, time=4e9)
    assert re.search(r"resolved .* in release 1\.4, back 2096-", shell.run("errors"))


def test_the_release_that_runs_is_known_without_a_setting(
    make_app: Callable[..., Flask],
) -> None:
    """A command in a container need not have the server's environment."""
    shell = Shell(make_app())
    shell.record(A, release="1.3")
    for release, now in (("1.5", 2.0), ("1.4", 1.0)):
        note_release(shell.mailbox, release, now)
    assert "in release 1.5" in shell.run("resolve", A)
    shell.mailbox.close()


def test_a_fingerprint_must_name_one_error(shell: Shell) -> None:
    assert "No error has the fingerprint ff" in shell.run("mute", "ff", status=1)
    found = shell.run("resolve", "1", status=1)
    assert A in found
    assert B in found


def test_a_rule_is_added_listed_and_deleted(shell: Shell) -> None:
    assert "There are no rules." in shell.run("ignore")
    assert "Rule 1 added. It hides 1 error waiting" in shell.run(
        "ignore", "--exception", "KeyError"
    )
    shell.record(B, type="KeyError", time=8.0)
    listed = shell.run("ignore")
    assert "2 errors hidden, the last at 1970-01-01 00:00:08 UTC  exception KeyError" in listed
    assert "Rule 1 deleted." in shell.run("ignore", "--delete", "1")
    assert "There is no rule 1" in shell.run("ignore", "--delete", "1", status=1)
    assert "hidden, because they are muted or ignored" in shell.run("list")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--message", "*"),
        ("--message", ""),
        ("--route", "? *"),
        ("--logger", "x" * 201),
        ("--exception", "werkzeug.exceptions.*"),
        ("--delete", "1", "--logger", "x"),
    ],
)
def test_a_rule_that_would_hide_everything_is_refused(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    shell.run("ignore", *arguments, status=2)
    assert "There are no rules." in shell.run("ignore")


def test_the_webhook_is_listed_retried_and_tested(make_app: Callable[..., Flask]) -> None:
    server = WebhookServer()
    app = make_app(REPORT_WEBHOOK_URL=server.url, WEBHOOK_ALLOW="127.0.0.1/32")
    shell: Any = Shell(app)
    try:
        shell.mailbox.connection.execute(
            "INSERT INTO posts (key, kind, created, count, message, tries, next_try, error)"
            " VALUES ('k', 'report', 1.0, 1, '{}', 3, 4e9, 'answered 500')"
        )
        listed = shell.run("list", status=1)
        assert "Webhook: 1 message, 1 waiting" in listed
        assert "tried 3 times" in listed
        assert "answered 500" in listed
        assert "Trying 1 message to the webhook now." in shell.run("retry")
        assert "Posted to the webhook at 127.0.0.1." in shell.run("test")
        server.answer = 404
        assert "check REPORT_WEBHOOK_URL" in shell.run("test", status=1)
    finally:
        server.close()
        shell.mailbox.close()
