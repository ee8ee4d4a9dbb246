"""`flask reports`: what waits, what was delivered, what failed; and whether mail can be sent."""

from __future__ import annotations

import email
import json
import smtplib
import sqlite3
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from email.utils import make_msgid
from typing import Final

import click
from flask import current_app
from flask.cli import AppGroup

from ..config import Settings
from .queue import COURIER_TIMEOUT
from .smtp import connect as connect_smtp
from .smtp import explain
from .spool import connect

STUCK: Final = 3600.0  # seconds after which waiting mail means that something is wrong

group = AppGroup("reports", help="Read and steer the error reports in the spool.")


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _spool() -> sqlite3.Connection:
    return connect(_settings().spool_dir / "reports.db", COURIER_TIMEOUT)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


@group.command("list")
@click.option("--last", default=20, show_default=True, help="How many mails to list.")
def list_reports(last: int) -> None:
    """Count the reports and list the last mails. Exit status 1: mail is stuck for an hour."""
    spool = _spool()
    counts = dict(
        spool.execute(
            "SELECT CASE WHEN NOT mailable THEN 'not to be mailed' WHEN mail_id IS NULL THEN"
            " 'counted, no mail yet' ELSE state END, count(*) FROM reports"
            " LEFT JOIN mails ON mails.id = mail_id GROUP BY 1"
        ).fetchall()
    )
    for state in ("waiting", "delivered", "failed", "counted, no mail yet", "not to be mailed"):
        click.echo(f"{counts.get(state, 0):>8} errors {state}")
    rows = spool.execute(
        "SELECT id, created, kind, count, state, tries, next_try, subject, error FROM mails"
        " ORDER BY id DESC LIMIT ?",
        (last,),
    ).fetchall()
    for number, created, kind, count, state, tries, next_try, subject, error in reversed(rows):
        click.echo(f"{number:>6}  {_moment(created)}  {state:9}  {kind} of {count}  {subject}")
        if state == "waiting" and error:
            click.echo(f"        tried {tries} times, next try at {_moment(next_try)}: {error}")
        elif error:
            click.echo(f"        {error}")
    oldest = spool.execute("SELECT min(created) FROM mails WHERE state = 'waiting'").fetchone()[0]
    if oldest is not None and oldest < time.time() - STUCK:
        click.echo(f"Mail is stuck since {_moment(oldest)}: see `flask reports test`.", err=True)
        raise SystemExit(1)


@group.command()
@click.argument("identifier", metavar="ID")
def show(identifier: str) -> None:
    """Show a mail by its number, or the report of a request by its request id."""
    spool = _spool()
    row = spool.execute(
        "SELECT content FROM mails WHERE id = ?", (identifier if identifier.isdigit() else -1,)
    ).fetchone()
    if row is not None and len(identifier) < 32:
        message = email.message_from_bytes(row[0], policy=default)
        body = message.get_body(("plain",))
        click.echo(f"Subject: {message['Subject']}\n")
        click.echo(body.get_content() if body is not None else "")
        return
    found = spool.execute("SELECT body FROM reports WHERE request_id = ?", (identifier,)).fetchall()
    if not found:
        raise click.ClickException(
            f"There is no mail and no request {identifier} in the spool: see `flask reports list`."
        )
    for (report,) in found:
        click.echo(json.dumps(json.loads(report), indent=2, ensure_ascii=False))


@group.command()
def retry() -> None:
    """Try all that waits at once, and what has failed once more."""
    spool = _spool()
    recipients = json.dumps(_settings().admins)
    again = spool.execute(
        "UPDATE mails SET state = 'waiting', next_try = 0, recipients ="
        " CASE recipients WHEN '[]' THEN ? ELSE recipients END WHERE state = 'failed'",
        (recipients,),
    ).rowcount
    waiting = spool.execute(
        "UPDATE mails SET next_try = 0 WHERE state = 'waiting' AND next_try > 0"
    ).rowcount
    click.echo(f"{waiting + again} mails are tried at once, {again} of which had failed.")


@group.command()
@click.option("--days", type=click.IntRange(0), help="Keep the last so many [REPORT_KEEP_DAYS].")
def purge(days: int | None) -> None:
    """Delete what was delivered; what waits or has failed stays."""
    keep = _settings().report_keep_days if days is None else days
    before = time.time() - keep * 86_400
    spool = _spool()
    deleted = spool.execute(
        "DELETE FROM reports WHERE time < ? AND mail_id IN"
        " (SELECT id FROM mails WHERE state = 'delivered')",
        (before,),
    ).rowcount
    spool.execute(
        "DELETE FROM mails WHERE state = 'delivered' AND created < ?"
        " AND NOT EXISTS (SELECT 1 FROM reports WHERE mail_id = mails.id)",
        (before,),
    )
    click.echo(f"{deleted} reports are deleted.")


@group.command()
def test() -> None:
    """Send a mail at once, and explain what is wrong where that fails."""
    settings = _settings()
    if settings.mail_server is None:
        raise click.ClickException("MAIL_SERVER is not set: no mail is sent.")
    message = EmailMessage()
    message["Subject"] = "[Microblog] Test: error mails arrive"
    message["From"], message["To"] = settings.mail_from, ", ".join(settings.admins)
    message["Message-ID"] = make_msgid(domain=settings.mail_from.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("Sent by `flask reports test`. Nothing is wrong.\n")
    try:
        with connect_smtp(settings) as server:
            refused = server.sendmail(settings.mail_from, settings.admins, message.as_bytes())
    except (OSError, smtplib.SMTPException) as error:
        raise click.ClickException(explain(error, settings)) from error
    for address, (code, text) in refused.items():
        click.echo(f"{address} is refused: {code} {text.decode('utf-8', 'replace')}", err=True)
    if refused:
        raise SystemExit(1)
    click.echo(f"Sent to {', '.join(settings.admins)} through {settings.mail_server}.")
