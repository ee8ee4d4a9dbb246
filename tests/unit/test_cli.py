"""`flask mayday reports`: reading and changing the spool on the command line."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from flask_mayday import cli as cli_module
from flask_mayday.cli.open_spool import delivery_words, open_spool
from flask_mayday.context import request_id
from flask_mayday.courier.lease import Lease
from flask_mayday.reporting import duplicates
from flask_mayday.spool.database import Database, folder_lock
from flask_mayday.spool.inventory import DeliveryStatus
from flask_mayday.spool.mailbox import Mailbox
from tests.support.reports import a_report

ID = "0123456789abcdef" * 2


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, ADMINS="admin@example.com")


@pytest.fixture
def cli(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()


@pytest.fixture
def folder(app: Flask) -> Path:
    found: Path = app.extensions["mayday"].settings.spool.folder
    return found


@pytest.fixture
def spool(folder: Path) -> sqlite3.Connection:
    """A spool with a waiting, a delivered and a failed mail, and one error without a mail."""
    connection = Database(folder / "reports.db", 1).connection
    now = time.time()
    for number, state in enumerate(("waiting", "delivered", "failed"), 1):
        connection.execute(
            "INSERT INTO mails (id, message_id, kind, created, count, subject, content, recipients,"
            " state, tries, next_try, error) VALUES (?, ?, 'report', ?, 1, ?, ?, '[]', ?, 2, ?, ?)",
            (
                number,
                f"<{number}>",
                now,
                f"Subject {number}",
                b"Subject: S\r\n\r\nThe body\r\n",
                state,
                now + 60,
                "450 later",
            ),
        )
    for number in range(1, 5):
        connection.execute(
            "INSERT INTO reports (uuid, time, fingerprint, request_id, body, mail_id)"
            " VALUES (?, ?, 'f', ?, ?, ?)",
            (
                str(number),
                now,
                ID,
                a_report(f"error {number}").to_json(),
                number if number < 4 else None,
            ),
        )
    return connection


@pytest.mark.parametrize(
    ("number", "words", "exit_code"),
    [
        (1, "not accepted by 127.0.0.1 yet: 450 later", 1),
        (2, "accepted by 127.0.0.1 at 2", 0),
        (3, "refused by 127.0.0.1: 450 later", 1),
        (4, "held for a digest or summary", 1),
    ],
)
def test_the_status_says_how_far_the_mail_about_a_request_has_come(
    cli: FlaskCliRunner, spool: sqlite3.Connection, number: int, words: str, exit_code: int
) -> None:
    spool.execute("UPDATE mails SET finished = created + 2.5")
    spool.execute("UPDATE reports SET request_id = 'mine' WHERE id = ?", (number,))
    result = cli.invoke(args=["reports", "status", "mine"])
    assert result.output.startswith(words)
    assert result.exit_code == exit_code
    if exit_code == 0:
        assert result.output.endswith(", 2.5 s after the error: Subject 2\n")


def test_the_status_waits_for_a_spool_that_the_courier_has_not_made_yet(
    cli: FlaskCliRunner, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_spool(seconds: float) -> None:
        spool = request.getfixturevalue("spool")
        spool.execute("UPDATE reports SET request_id = 'mine' WHERE id = 3")

    monkeypatch.setattr(time, "sleep", make_spool)
    result = cli.invoke(args=["reports", "status", "--wait", "60", "mine"])
    assert result.output.startswith("refused by 127.0.0.1: 450 later")


def test_the_status_names_no_server_if_that_was_unset_since() -> None:
    status = DeliveryStatus(1.0, True, "delivered", 2.0, "Error", None)
    assert delivery_words(status, None).startswith("accepted by the mail server at ")


@pytest.mark.usefixtures("spool")
def test_the_status_of_an_unknown_request_says_so(cli: FlaskCliRunner) -> None:
    result = cli.invoke(args=["reports", "status", "--wait", "0.2", "unknown"])
    assert result.exit_code == 1
    assert "No error of request unknown has been processed yet." in result.output


def test_the_commands_read_the_settings_of_an_app_that_does_not_use_the_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAYDAY_SPOOL_DIR", str(tmp_path / "spool"))
    app = Flask("other", instance_path=str(tmp_path))
    result = app.test_cli_runner().invoke(cli_module.mayday, ["reports", "list"])
    assert f"There is no spool at {tmp_path / 'spool' / 'reports.db'}" in result.output


@pytest.mark.usefixtures("spool")
def test_the_list_counts_every_error_and_shows_the_time_of_the_next_try(
    cli: FlaskCliRunner,
) -> None:
    result = cli.invoke(args=["reports", "list"])
    for state in ("waiting", "delivered", "whose mail the server refused", "held"):
        assert f"       1 error {state}" in result.output
    assert "tried 2 times, next try at" in result.output
    assert "450 later" in result.output


def test_the_list_fails_only_while_an_operator_has_to_act(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 1
    advice = "see `flask mayday reports show NUMBER`"
    assert f"1 mail refused by the mail server: {advice}" in result.stderr
    spool.execute("UPDATE mails SET state = 'delivered' WHERE state = 'failed'")
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 0
    assert "refused" not in result.stderr


def test_the_list_fails_when_mail_is_stuck_for_an_hour(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET created = ? WHERE state = 'waiting'", (time.time() - 3700,))
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 1
    assert "Mail has been stuck since" in result.output


@pytest.mark.usefixtures("spool")
def test_a_mail_is_shown_by_its_number_and_a_report_by_its_request_id(cli: FlaskCliRunner) -> None:
    assert "The body" in cli.invoke(args=["reports", "show", "1"]).output
    assert '"message": "error 4"' in cli.invoke(args=["reports", "show", ID]).output
    missing = cli.invoke(args=["reports", "show", "99"])
    assert missing.exit_code == 1
    assert "flask mayday reports list" in missing.output


@pytest.mark.usefixtures("spool")
def test_a_mail_is_shown_without_carriage_returns(cli: FlaskCliRunner) -> None:
    assert cli.invoke(args=["reports", "show", "1"]).output == "Subject: S\n\nThe body\n\n"


@pytest.mark.parametrize("body", [b'{"uuid": "\xff', b"[]"])
def test_the_readable_fields_of_a_broken_report_are_shown(
    cli: FlaskCliRunner, spool: sqlite3.Connection, body: bytes
) -> None:
    spool.execute("UPDATE reports SET body = CAST(? AS TEXT) WHERE uuid = '4'", (body,))
    spool.execute("DELETE FROM reports WHERE uuid != '4'")
    report = json.loads(cli.invoke(args=["reports", "show", ID]).output)
    assert (report["uuid"], report["fingerprint"], report["request_id"]) == ("4", "f", ID)
    assert "cannot be read: the spool" in report["message"]


@pytest.mark.usefixtures("spool")
def test_an_id_that_is_not_utf_8_is_not_found(cli: FlaskCliRunner) -> None:
    result = cli.invoke(args=["reports", "show", os.fsdecode(b"\xff")])
    assert result.exit_code == 1
    assert "request \\udcff in the spool" in result.output


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--last", "-1"],
        ["list", "--last", "99999999999999999999"],
        ["purge", "--days", "-1"],
        ["purge", "--days", "1" + "0" * 400],
    ],
)
def test_an_invalid_number_is_refused(cli: FlaskCliRunner, arguments: list[str]) -> None:
    result = cli.invoke(args=["reports", *arguments])
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[1]}'" in result.output


def test_a_mail_with_an_impossible_time_is_listed(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET created = 1e300 WHERE id = 1")
    assert "1  an unknown time  waiting" in cli.invoke(args=["reports", "list"]).output


def test_a_worker_death_of_an_earlier_version_is_shown_for_each_request_in_its_text(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    visitor = "f" * 32
    body = json.dumps({"traceback": f"It served:\n  GET /explore [request {visitor}]"})
    spool.execute("UPDATE reports SET body = ?, request_id = NULL WHERE uuid = '4'", (body,))
    assert "GET /explore" in cli.invoke(args=["reports", "show", visitor]).output
    assert cli.invoke(args=["reports", "show", "e" * 32]).exit_code == 1


def test_a_worker_death_is_shown_for_each_request_that_it_interrupted(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    visitor = "f" * 32
    requests = [{"request_id": "a" * 32, "path": "/"}, {"request_id": visitor, "path": "/explore"}]
    body = json.dumps({"message": "Worker killed", "requests": requests})
    spool.execute("UPDATE reports SET body = ?, request_id = NULL WHERE uuid = '4'", (body,))
    assert "Worker killed" in cli.invoke(args=["reports", "show", visitor]).output
    assert cli.invoke(args=["reports", "show", "e" * 32]).exit_code == 1
    assert cli.invoke(args=["reports", "show", "explore"]).exit_code == 1


@pytest.mark.parametrize("taken_in", [False, True])
def test_an_identical_error_is_shown_with_the_traceback_of_the_first(
    app: Flask, cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch, taken_in: bool
) -> None:
    """Both before and after the courier has imported the reports."""
    monkeypatch.setattr(duplicates, "INTERVAL", 3600.0)  # however slow the machine is
    for _ in range(2):
        request_id.begin({"REQUEST_METHOD": "GET"}, trusted=False)
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("blog").exception("It failed")
    if taken_in:
        with closing(Mailbox(app.extensions["mayday"].courier.outbox)) as mailbox:
            mailbox.take_incoming()
    shown = cli.invoke(args=["reports", "show", str(request_id.current())])
    report = json.loads(shown.output)
    assert report["like"]
    assert report["traceback"].startswith("Traceback (most recent call last):")


def test_reports_in_files_are_listed_before_there_is_a_database(
    app: Flask, cli: FlaskCliRunner
) -> None:
    app.extensions["mayday"].courier.outbox.put(a_report("boom", request_id=ID), mailable=True)
    result = cli.invoke(args=["reports", "list"])
    assert "       1 error not processed yet" in result.output
    assert '"message": "boom"' in cli.invoke(args=["reports", "show", ID]).output


@pytest.mark.usefixtures("spool")
def test_a_closed_pipe_is_not_reported_as_an_error_of_the_spool(
    cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `flask mayday reports list | head -1`."""

    def broken_pipe(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(cli_module.reports, "show_text", broken_pipe)
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 1
    assert "cannot be opened" not in result.output


def test_the_list_counts_errors_whose_reports_were_evicted(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("DELETE FROM reports WHERE mail_id IS NOT NULL")
    spool.execute("UPDATE mails SET count = 7 WHERE state = 'waiting'")
    output = cli.invoke(args=["reports", "list"]).output
    assert "       7 errors waiting" in output
    assert "       1 error whose mail the server refused" in output
    assert "       1 error held" in output


def test_the_reason_for_a_deleted_mail_text_is_shown(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET content = '' WHERE id = 2")
    result = cli.invoke(args=["reports", "show", "2"])
    assert result.exit_code == 1
    assert "text expired or the spool was full. See SPOOL_MAX_BYTES" in result.output


def test_retry_sends_waiting_mails_at_once_and_refused_mails_once_more(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    result = cli.invoke(args=["reports", "retry"])
    assert result.stdout == "Trying 2 mails now, 1 of which had been refused.\n"
    rows = spool.execute("SELECT state, next_try, recipients FROM mails ORDER BY id").fetchall()
    assert [row[:2] for row in rows if row[0] == "waiting"] == [("waiting", 0)] * 2
    assert rows[2][2] == '["admin@example.com"]'


def test_retry_says_that_nothing_is_sent_without_a_server(
    make_app: Callable[..., Flask], spool: sqlite3.Connection
) -> None:
    spool.execute(
        "INSERT INTO posts (key, kind, created, count, message, next_try)"
        " VALUES ('k', 'report', 1.0, 1, '{}', 4e9)"
    )
    result = make_app().test_cli_runner().invoke(args=["reports", "retry"])
    assert result.exit_code == 0
    assert "MAIL_SERVER is not set: no mail is sent." in result.stderr
    assert "REPORT_WEBHOOK_URL is not set: nothing is posted." in result.stderr


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize("command", [["status", "x", "--wait"], ["resend", "--hours"]])
def test_a_number_that_is_none_is_refused(cli: FlaskCliRunner, command: list[str]) -> None:
    result = cli.invoke(args=["reports", *command, "nan"])
    assert result.exit_code == 2
    assert "'nan' is not a number" in result.output


def test_there_is_nothing_to_retry_without_waiting_mail(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET state = 'delivered'")
    assert cli.invoke(args=["reports", "retry"]).output == "Nothing to retry.\n"


def test_resend_sends_delivered_mails_again_under_their_message_id(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    """A mail server may have lost mails that it accepted."""
    spool.execute("UPDATE mails SET finished = ?, created = 1", (time.time() - 7200,))
    assert cli.invoke(args=["reports", "resend"]).exit_code == 2
    result = cli.invoke(args=["reports", "resend", "--hours", "1"])
    assert result.stdout == "0 mails will be sent again.\n"
    result = cli.invoke(args=["reports", "resend", "1", "2", "3"])
    assert result.stdout == "1 mail will be sent again.\n"
    query = "SELECT state, message_id, recipients, next_try FROM mails WHERE id = 2"
    admins = '["admin@example.com"]'
    assert spool.execute(query).fetchone() == ("waiting", "<2>", admins, 0)
    spool.execute("UPDATE mails SET state = 'delivered', created = 1 WHERE id = 2")
    assert "1 mail" in cli.invoke(args=["reports", "resend", "--hours", "1"]).output
    spool.execute("UPDATE mails SET state = 'delivered', content = '' WHERE id = 2")
    assert "0 mails" in cli.invoke(args=["reports", "resend", "2"]).output


def test_a_mail_that_is_sent_again_is_not_stuck_at_once(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("DELETE FROM mails WHERE id != 2")
    spool.execute("UPDATE mails SET created = 1, finished = 2")
    spool.execute("DELETE FROM reports")
    cli.invoke(args=["reports", "resend", "2"])
    assert cli.invoke(args=["reports", "list"]).exit_code == 0


def test_purge_deletes_only_delivered_reports(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET created = ?", (time.time() - 3700,))
    assert cli.invoke(args=["reports", "purge"]).output == "0 reports deleted.\n"
    assert cli.invoke(args=["reports", "purge", "--days", "0"]).output == "1 report deleted.\n"
    states = spool.execute("SELECT state FROM mails ORDER BY id").fetchall()
    assert states == [("waiting",), ("failed",)]
    assert spool.execute("SELECT count(*) FROM reports").fetchone() == (3,)


@pytest.mark.parametrize(("window", "age"), [(300, 3500), (7200, 7000)])
def test_purge_resets_neither_the_hourly_cap_nor_a_window(
    make_app: Callable[..., Flask], spool: sqlite3.Connection, window: int, age: int
) -> None:
    spool.execute("UPDATE mails SET created = ?", (time.time() - age,))
    runner = make_app(REPORT_WINDOW=window).test_cli_runner()
    result = runner.invoke(args=["reports", "purge", "--days", "0"])
    assert result.output == "1 report deleted.\n"
    assert spool.execute("SELECT count(*) FROM mails").fetchone() == (3,)
    emptied = spool.execute("SELECT state FROM mails WHERE content = ''").fetchall()
    assert emptied == [("delivered",)]


@pytest.mark.usefixtures("spool")
def test_files_that_cannot_be_read_are_named(
    cli: FlaskCliRunner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a spool restored by root. Simulated, because root can read every file."""
    (folder / "incoming").mkdir()
    foreign = folder / "incoming" / "a.lines"
    foreign.touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != foreign and access(path, mode))
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 1
    assert f"1 file cannot be read, check the owner: {foreign}" in result.stderr


def test_reports_in_files_for_an_hour_count_as_stuck(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("DELETE FROM mails")
    long_ago = time.time() - 3700 - 2 * 300
    spool.execute("UPDATE reports SET mail_id = NULL, time = ?", (long_ago,))
    result = cli.invoke(args=["reports", "list"])
    assert result.exit_code == 1
    assert "Mail has been stuck since" in result.output


@pytest.mark.usefixtures("spool")
def test_a_missing_courier_is_mentioned(cli: FlaskCliRunner, folder: Path) -> None:
    words = "No process is delivering mail: it stays queued until the server or the watch process"
    assert words in cli.invoke(args=["reports", "list"]).output
    lease = Lease(folder)
    assert lease.acquire()
    output = cli.invoke(args=["reports", "list"]).output
    assert words not in output
    assert "has not renewed" not in output
    os.utime(lease.path, (1, 1))
    output = cli.invoke(args=["reports", "list"]).output
    assert "The courier has not renewed its lease since 1970-01-01 00:00:01 UTC" in output
    lease.release()


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize("command", ["list", "retry"])
def test_a_lock_that_this_user_cannot_open_is_explained(
    cli: FlaskCliRunner, folder: Path, command: str
) -> None:
    (folder / "courier.lock").symlink_to("courier.lock")  # because root can open a file of any mode
    result = cli.invoke(args=["reports", command])
    assert result.exit_code == 1
    assert "run the command as the server's user" in result.output


@pytest.mark.usefixtures("spool")
def test_control_characters_from_servers_and_visitors_are_escaped(
    cli: FlaskCliRunner, spool: sqlite3.Connection
) -> None:
    spool.execute("UPDATE mails SET error = ?", ("450 \x1b[2J\x9b2J",))
    spool.execute("UPDATE reports SET body = ?", (json.dumps({"message": "/\x9b2J"}),))
    for arguments in (["list"], ["show", ID], ["status", "\x1b[2J\x9b2J"]):
        output = cli.invoke(args=["reports", *arguments]).output
        assert "2J" in output
        assert "\x1b" not in output
        assert "\x9b" not in output


# An unusable spool


def missing(folder: Path) -> str:
    return f"There is no spool at {folder}/reports.db"


def no_folder(folder: Path) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()
    return "run the command as the server's user"


def no_file(folder: Path) -> str:
    (folder / "reports.db").mkdir(parents=True)
    return "run the command as the server's user"


def no_database(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "reports.db").write_bytes(b"this is no database" * 1000)
    return "it is damaged. A running server replaces it"


def torn(folder: Path) -> str:
    connection = Database(folder / "reports.db", 1).connection
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    with (folder / "reports.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 200_000)
    return "it is damaged. A running server replaces it"


def locked(folder: Path) -> str:
    connection = Database(folder / "reports.db", 1).connection
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN EXCLUSIVE")
    kept.append(connection)
    return "another process has locked it: try again"


def replaced(folder: Path) -> str:
    Database(folder / "reports.db").close()
    held = ExitStack()
    held.enter_context(folder_lock(folder, fcntl.LOCK_EX))
    kept.append(held)
    return "its database is being replaced: try again"


kept: list[sqlite3.Connection | ExitStack] = []


@pytest.mark.usefixtures("spool")
def test_a_full_disk_is_named_without_advice_that_does_not_help(folder: Path) -> None:
    def fill() -> None:
        with open_spool(folder) as (inventory, _):
            inventory.connection.execute("PRAGMA max_page_count = 1")
            inventory.connection.execute("CREATE TABLE large AS SELECT randomblob(1000000)")

    with pytest.raises(click.ClickException, match="its disk is full") as found:
        fill()
    assert "SPOOL_MAX_BYTES" not in str(found.value)


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["retry"], ["purge"]])
@pytest.mark.parametrize(
    "trouble", [missing, no_folder, no_file, no_database, torn, locked, replaced]
)
def test_an_unusable_spool_is_explained(
    cli: FlaskCliRunner,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    trouble: Callable[[Path], str],
) -> None:
    monkeypatch.setattr("flask_mayday.cli.open_spool.LOCK_TIMEOUT", 0.05)
    words = trouble(folder)
    result = cli.invoke(args=["reports", *command])
    while kept:
        kept.pop().close()
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert words in result.output
    assert result.output.startswith("Error: ")


# The test mail without a server; the tests with servers are in tests/integration/mail


def test_a_failed_test_mail_is_explained(cli: FlaskCliRunner) -> None:
    result = cli.invoke(args=["reports", "test"])
    assert result.exit_code == 1
    assert "Nothing listens at 127.0.0.1:1: check MAIL_PORT" in result.output


def test_without_a_mail_server_the_test_says_so(make_app: Callable[..., Flask]) -> None:
    result = make_app().test_cli_runner().invoke(args=["reports", "test"])
    assert result.exit_code == 1
    assert "MAIL_SERVER is not set" in result.output
