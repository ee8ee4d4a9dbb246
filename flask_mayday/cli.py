"""`flask reports`: what waits, what was delivered, what failed; and whether mail can be sent."""

from __future__ import annotations

import email
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.policy import default
from email.utils import make_msgid
from pathlib import Path
from typing import Final

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from .courier.smtp_session import Fate, SmtpSession
from .log.formats import escape_controls
from .mail.content import moment
from .mail.message import Envelope, render_test
from .settings import Settings
from .spool.database import STUCK, close, opened, purge, report_of, told_whole, waiting_since
from .spool.mailbox import COURIER_TIMEOUT
from .spool.overflow import LINES, TAKEN

# What each primary code of SQLite means here, and the mend.
AS_THE_SERVER: Final = (
    "it cannot be opened by this user: run the command as the server's, as "
    "`docker compose exec web flask reports …` does."
)
BROKEN: Final = (
    "it is broken. A server that runs sets it aside as reports.db.corrupt-… within seconds, and "
    "makes a new one: try again, or start one."
)
TROUBLE: Final = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked: try again in a moment.",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked: try again in a moment.",
    sqlite3.SQLITE_CORRUPT: BROKEN,
    sqlite3.SQLITE_NOTADB: BROKEN,
    sqlite3.SQLITE_CANTOPEN: AS_THE_SERVER,
    sqlite3.SQLITE_PERM: AS_THE_SERVER,
    sqlite3.SQLITE_READONLY: AS_THE_SERVER,
    sqlite3.SQLITE_FULL: "it, or its disk, is full: see SPOOL_MAX_BYTES, or `flask reports purge`.",
}
# How the errors of the spool stand, in the order of the list.
COUNTS: Final = {
    "waiting": "waiting for the mail server",
    "delivered": "delivered",
    "held": "held, to be told in a digest or summary",
    "failed": "failed, refused for good",
    "unmailable": "recorded while mail was off",
}
REPORTS: Final = "SELECT body, uuid, time, fingerprint, request_id FROM reports"

group = AppGroup("reports", help="Read and steer the error reports in the spool.")


mayday = AppGroup("mayday", help="Flask Mayday: error reports and mail.")
mayday.add_command(group)


def add_commands(app: Flask) -> None:
    """Offer ``flask reports`` as the short form of ``flask mayday reports``.

    An app's own command of that name is left alone.
    """
    app.cli.commands.setdefault("mayday", mayday)
    app.cli.commands.setdefault("reports", group)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["mayday"].settings
    return settings


@contextmanager
def _spool() -> Iterator[sqlite3.Connection]:
    """Open the spool's database; say what is wrong with it, and the mend, where that fails."""
    path = _settings().spool.folder / "reports.db"
    try:
        path.stat()
        connection, which = opened(path, COURIER_TIMEOUT)
        try:
            yield connection
        finally:
            close(connection, path, which)
    except FileNotFoundError as error:
        raise click.ClickException(
            f"There is no spool {path}: no error was reported yet, or the server has another "
            "SPOOL_DIR."
        ) from error
    except BrokenPipeError:
        raise  # who reads what is printed has had enough
    except OSError as error:
        raise click.ClickException(f"The spool {path}: {AS_THE_SERVER} ({error})") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what = TROUBLE.get(code, "it cannot be used.")
        raise click.ClickException(f"The spool {path}: {what} ({error})") from error


def _show(text: str) -> None:
    """Print what may come from outside: a terminal must not obey it."""
    for line in text.split("\n"):
        click.echo(escape_controls(line))


def _incoming(folder: Path) -> list[float]:
    """Return, for each report in incoming/ that the courier has not taken in yet, its time."""
    found = []
    for path in folder.iterdir():
        if path.suffix in ("", LINES, TAKEN):
            try:
                found += [path.stat().st_mtime] * max(1, path.read_bytes().count(b"\n"))
            except FileNotFoundError:  # it was taken in just now
                continue
    return found


def _courier_runs(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / "courier.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _warn_without_courier() -> None:
    if not _courier_runs(_settings().spool.folder):
        click.echo("No server runs that would deliver: mail waits until one does.", err=True)


@group.command("list")
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    help="How many mails to list.",
)
def list_reports(last: int) -> None:
    """Count the reports and list the last mails. Exit status 1: mail is stuck for an hour."""
    settings = _settings()
    with _spool() as spool:
        incoming = settings.spool.folder / "incoming"
        files = _incoming(incoming) if incoming.is_dir() else []
        _list_counts(spool, len(files))
        _list_mails(spool, last)
        since = _stuck_since(spool, files, settings.reports.window)
        if settings.mail.server is None:
            click.echo("MAIL_SERVER is not set: no mail is sent.", err=True)
        else:
            _warn_without_courier()
    if since is not None:
        click.echo(f"Mail is stuck since {moment(since)}: see `flask reports test`.", err=True)
        raise SystemExit(1)


def _list_counts(spool: sqlite3.Connection, files: int) -> None:
    counts = dict(
        spool.execute(
            # By the mails, where there are any: their reports may have made room for others.
            "SELECT state, sum(count) FROM mails GROUP BY state UNION ALL"
            " SELECT CASE WHEN mailable THEN 'held' ELSE 'unmailable' END, count(*)"
            " FROM reports WHERE mail_id IS NULL GROUP BY mailable"
        ).fetchall()
    )
    for state, words in COUNTS.items():
        click.echo(f"{counts.get(state, 0):>8} errors {words}")
    if files:
        click.echo(f"{files:>8} errors in files of incoming/, not taken in yet")


def _list_mails(spool: sqlite3.Connection, last: int) -> None:
    rows = spool.execute(
        "SELECT id, created, kind, count, state, tries, next_try, subject, error FROM mails"
        " ORDER BY id DESC LIMIT ?",
        (last,),
    ).fetchall()
    for number, created, kind, count, state, tries, next_try, subject, error in reversed(rows):
        _show(f"{number:>6}  {moment(created)}  {state:9}  {kind} of {count}  {subject}")
        if state == "waiting" and error:
            at = f"at {moment(next_try)}" if next_try > time.time() else "now"
            _show(f"        tried {tries} times, next try {at}: {error}")
        elif error:
            _show(f"        {error}")


def _stuck_since(spool: sqlite3.Connection, files: list[float], window: float) -> float | None:
    """Return since when something has waited for an hour that should have gone out."""
    held = spool.execute(
        "SELECT min(time) FROM reports WHERE mail_id IS NULL AND mailable"
    ).fetchone()[0]
    # What is held is told of when its window is over, or, beyond the hourly cap, one later.
    moments = [waiting_since(spool), None if held is None else held + 2 * window, *files]
    first = min((since for since in moments if since is not None), default=None)
    return first if first is not None and first < time.time() - STUCK else None


@group.command()
@click.argument("identifier", metavar="ID")
def show(identifier: str) -> None:
    """Show a mail by its number, or the report of a request by its request id."""
    identifier = escape_controls(identifier)  # SQLite takes no lone surrogates
    with _spool() as spool:
        number = identifier if identifier.isdigit() and len(identifier) < 32 else -1
        mail = spool.execute("SELECT content FROM mails WHERE id = ?", (number,)).fetchone()
        found = spool.execute(f"{REPORTS} WHERE request_id = ?", (identifier,)).fetchall()
        if not found:  # one of several whom a worker's death has cut off, which it lists
            named = spool.execute(f"{REPORTS} WHERE instr(body, ?)", (identifier,)).fetchall()
            found = [row for row in named if report_of(*row).interrupted(identifier)]
        reports = [told_whole(spool, report_of(*row)) for row in found]
    if mail is not None:
        if not mail[0]:
            raise click.ClickException(
                f"The text of mail {identifier}, which was delivered, was purged, or had to make "
                "room in the spool: see SPOOL_MAX_BYTES."
            )
        message = email.message_from_bytes(mail[0], policy=default)
        body = message.get_body(("plain",))
        _show(f"Subject: {message['Subject']}\n")
        _show(body.get_content().replace("\r\n", "\n") if body is not None else "")
        return
    if not reports:
        raise click.ClickException(
            f"There is no mail and no request {identifier} in the spool: see `flask reports list`."
        )
    for report in reports:
        _show(json.dumps(json.loads(report.to_json()), indent=2, ensure_ascii=False))


@group.command()
def retry() -> None:
    """Try all that waits at once, and what has failed once more."""
    recipients = json.dumps(_settings().mail.admins)
    with _spool() as spool:
        again = spool.execute(
            "UPDATE mails SET state = 'waiting', next_try = 0, recipients ="
            " CASE recipients WHEN '[]' THEN ? ELSE recipients END WHERE state = 'failed'",
            (recipients,),
        ).rowcount
        waiting = spool.execute(
            "UPDATE mails SET next_try = 0 WHERE state = 'waiting' AND next_try > 0"
        ).rowcount
        click.echo(f"{waiting + again} mails are tried at once, {again} of which had failed.")
        _warn_without_courier()


@group.command("purge")
@click.option(
    "--days",
    type=click.IntRange(0, 36_500),
    help="Keep the last so many [REPORT_KEEP_DAYS].",
)
def purge_reports(days: int | None) -> None:
    """Delete what was delivered or recorded while mail was off; the rest stays."""
    keep = _settings().reports.keep_days if days is None else days
    now = time.time()
    recent = now - max(_settings().reports.window, 3600)
    with _spool() as spool:
        deleted = purge(spool, now - keep * 86_400, recent)
    click.echo(f"{deleted} reports are deleted.")


@group.command()
def test() -> None:
    """Send a mail at once, and explain what is wrong where that fails."""
    settings = _settings()
    if settings.mail.server is None:
        raise click.ClickException("MAIL_SERVER is not set: no mail is sent.")
    sender, admins = settings.mail.sender, settings.mail.admins
    message_id = make_msgid(domain=sender.rpartition("@")[2])
    envelope = Envelope(sender, admins, message_id, None, time.time(), settings.app)
    with SmtpSession(settings.mail) as session:
        verdict = session.send(admins, render_test(envelope))
    if verdict.fate is Fate.DELIVERED and not verdict.words:
        click.echo(f"Sent to {', '.join(settings.mail.admins)} through {settings.mail.server}.")
        return
    raise click.ClickException(verdict.words)
