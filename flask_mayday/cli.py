"""``flask reports``: list, show, retry, resend and purge error reports, and send a test mail."""

from __future__ import annotations

import email
import json
import time
from contextlib import AbstractContextManager
from email.policy import default
from email.utils import make_msgid
from pathlib import Path
from typing import Final

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from .courier.lease import expired_since, is_locked
from .courier.smtp_session import Fate, SmtpSession
from .log.formats import escape_controls
from .mail.content import moment
from .mail.message import Envelope, render_test
from .open_spool import delivery_words, open_spool
from .report.wording import counted
from .settings import Settings, read_settings
from .spool.incoming import Incoming
from .spool.inventory import STUCK, Inventory
from .spool.retention import expire
from .spool.stored_report import StoredReport

NO_COURIER: Final = "No courier is running; mail stays queued until the web service is up."
# The states of errors, in the order of the list.
STATES: Final = {
    "waiting": "waiting for the mail server",
    "delivered": "delivered",
    "held": "held for a digest or summary",
    "failed": "failed, refused by the mail server",
    "unmailable": "recorded while mail was off",
}

group = AppGroup("reports", help="Read and control the error reports in the spool.")


mayday = AppGroup("mayday", help="Flask Mayday: error reports and mail.")
mayday.add_command(group)


def add_commands(app: Flask) -> None:
    """Offer ``flask reports`` as the short form of ``flask mayday reports``.

    An app's own command of that name is left alone.
    """
    app.cli.commands.setdefault("mayday", mayday)
    app.cli.commands.setdefault("reports", group)


def _settings() -> Settings:
    if "mayday" in current_app.extensions:
        settings: Settings = current_app.extensions["mayday"].settings
        return settings
    # The server has added the extension to an app that does not use it itself.
    folder = Path(current_app.instance_path)
    return read_settings(
        current_app.config, import_name=current_app.import_name, instance_path=folder
    )


def _admins() -> tuple[str, ...]:
    mail = _settings().mail
    if mail.server is None:
        raise click.ClickException("MAIL_SERVER is not set: no mail is sent.")
    return mail.admins


def _inventory() -> AbstractContextManager[tuple[Inventory, list[StoredReport]]]:
    return open_spool(_settings().spool.folder)


def _show(text: str) -> None:
    """Print a text that may come from outside, with control characters escaped."""
    for line in text.split("\n"):
        click.echo(escape_controls(line))


def _warn_without_courier() -> None:
    folder = _settings().spool.folder
    if (since := expired_since(folder)) is not None:
        click.echo(
            f"The courier has not renewed its lease since {moment(since)}: its process is frozen. "
            "Another process takes over if one is running.",
            err=True,
        )
    elif not is_locked(folder):
        click.echo(NO_COURIER, err=True)


@group.command("list")
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    help="How many mails to list.",
)
def list_reports(last: int) -> None:
    """Count the errors and list the last mails.

    Exit status 1: mail has been stuck for an hour or was refused, or reports cannot be read.
    """
    settings = _settings()
    with _inventory() as (inventory, waiting):
        _list_errors(inventory, len(waiting))
        _list_mails(inventory, last)
        problems = _problems(inventory, waiting)
        if settings.mail.server is None:
            click.echo("MAIL_SERVER is not set: no mail is sent.", err=True)
        else:
            _warn_without_courier()
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)


def _list_errors(inventory: Inventory, waiting: int) -> None:
    states = STATES | ({"new": "not processed yet"} if waiting else {})
    counts = inventory.error_counts() | {"new": waiting}
    for state, words in states.items():
        count = counts.get(state, 0)
        click.echo(f"{count:>8} {'error' if count == 1 else 'errors'} {words}")


def _list_mails(inventory: Inventory, last: int) -> None:
    for mail in inventory.last_mails(last):
        what = f"{mail.state:9}  {mail.kind} of {mail.count}"
        _show(f"{mail.id:>6}  {moment(mail.created)}  {what}  {mail.subject}")
        if mail.error and mail.state == "waiting":
            at = f"at {moment(mail.next_try)}" if mail.next_try > time.time() else "now"
            _show(f"        tried {counted(mail.tries, 'time')}, next try {at}: {mail.error}")
        elif mail.error:
            _show(f"        {mail.error}")


def _problems(inventory: Inventory, waiting: list[StoredReport]) -> list[str]:
    """Return the problems that an operator has to fix, one sentence each."""
    settings = _settings()
    problems = []
    # Held errors are mailed after their window, or one window later if over the hourly cap.
    held = inventory.held_since()
    moments = [
        inventory.waiting_since(),
        None if held is None else held + 2 * settings.reports.window,
    ]
    first = min(
        [one for one in moments if one is not None] + [one.time for one in waiting], default=None
    )
    if first is not None and first < time.time() - STUCK:
        problems.append(f"Mail has been stuck since {moment(first)}: run `flask reports test`.")
    if refused := inventory.refused():
        problems.append(
            f"{counted(refused, 'mail')} refused by the mail server: see "
            "`flask reports show NUMBER`, and run `flask reports retry` to try again."
        )
    if files := Incoming(settings.spool.folder / "incoming").unreadable():
        names = ", ".join(str(path) for path in files[:10])
        problems.append(f"{counted(len(files), 'file')} cannot be read, check the owner: {names}")
    return problems


@group.command()
@click.argument("identifier", metavar="ID")
def show(identifier: str) -> None:
    """Show a mail by its number, or the reports of a request by its request id."""
    identifier = escape_controls(identifier)  # SQLite takes no lone surrogates
    with _inventory() as (inventory, waiting):
        is_number = identifier.isdigit() and len(identifier) < 32
        content = inventory.mail_content(identifier) if is_number else None
        reports = inventory.reports_of_request(identifier, waiting) if content is None else []
    if content is not None:
        _show_mail(identifier, content)
        return
    if not reports:
        raise click.ClickException(
            f"No mail or request {identifier} in the spool: see `flask reports list`."
        )
    for report in reports:
        _show(json.dumps(json.loads(report.to_json()), indent=2, ensure_ascii=False))


def _show_mail(identifier: str, content: bytes) -> None:
    if not content:
        raise click.ClickException(
            f"The text of mail {identifier} was deleted: the mail was delivered, and then its "
            "text expired or the spool was full. See SPOOL_MAX_BYTES."
        )
    message = email.message_from_bytes(content, policy=default)
    body = message.get_body(("plain",))
    _show(f"Subject: {message['Subject']}\n")
    _show(body.get_content().replace("\r\n", "\n") if body is not None else "")


@group.command()
@click.argument("request_id")
@click.option(
    "--wait", metavar="SECONDS", type=click.FloatRange(0, 3600), default=0, help="Wait for that."
)
def status(request_id: str, wait: float) -> None:
    """Say whether the mail server has accepted the mail about a request's error.

    Exit status 1: it has not.
    """
    settings = _settings()
    deadline = time.monotonic() + wait
    while True:
        with _inventory() as (inventory, _):
            found = inventory.delivery_of(escape_controls(request_id))
        if (found and found.is_final) or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    if found is None:
        raise click.ClickException(f"No error of request {request_id} has been processed yet.")
    _show(delivery_words(found, settings.mail.server))
    if found.state != "delivered" and settings.mail.server:
        raise SystemExit(1)


@group.command()
def retry() -> None:
    """Try every waiting mail now, and every refused mail once more."""
    admins = _settings().mail.admins
    with _inventory() as (inventory, _):
        waiting, failed = inventory.retry(admins)
        if waiting + failed:
            mails = counted(waiting + failed, "mail")
            click.echo(f"Trying {mails} now, {failed} of which had been refused.")
            _warn_without_courier()
        else:
            click.echo("Nothing to retry.")


@group.command()
@click.argument("numbers", metavar="[NUMBER]...", type=click.IntRange(1, 1 << 62), nargs=-1)
@click.option("--hours", type=click.FloatRange(0), help="Also all mails of the last HOURS hours.")
def resend(numbers: tuple[int, ...], hours: float | None) -> None:
    """Send delivered mails again, for example after the mail server has lost them.

    They keep their Message-ID. NUMBER is the number of a mail in `flask reports list`.
    """
    if not numbers and hours is None:
        raise click.UsageError("Give the numbers of mails, or use --hours.")
    admins = _admins()
    since = time.time() - hours * 3600 if hours is not None else float("inf")
    with _inventory() as (inventory, _):
        count = inventory.resend(admins, numbers, since)
        click.echo(f"{counted(count, 'mail')} will be sent again.")
        if count:
            _warn_without_courier()


@group.command("purge")
@click.option(
    "--days",
    type=click.IntRange(0, 36_500),
    help="Keep the reports of the last DAYS days [REPORT_KEEP_DAYS].",
)
def purge_reports(days: int | None) -> None:
    """Delete reports that were delivered or recorded while mail was off, and keep the rest."""
    settings = _settings().reports
    keep = settings.keep_days if days is None else days
    now = time.time()
    with _inventory() as (inventory, _):
        deleted = expire(inventory, now - keep * 86_400, now - max(settings.window, 3600))
    click.echo(f"{counted(deleted, 'report')} deleted.")


@group.command()
def test() -> None:
    """Send a test mail now, and explain the error if that fails."""
    settings = _settings()
    admins = _admins()
    message_id = make_msgid(domain=settings.mail.sender.rpartition("@")[2])
    envelope = Envelope(settings.mail.sender, admins, message_id, None, time.time(), settings.app)
    with SmtpSession(settings.mail) as session:
        verdict = session.send(admins, render_test(envelope))
    if verdict.fate is Fate.DELIVERED and not verdict.words:
        click.echo(f"Sent to {', '.join(admins)} through {settings.mail.server}.")
        return
    raise click.ClickException(verdict.words)
