"""``flask mayday reports``: list, show, retry, resend and purge reports, and send a test mail."""

from __future__ import annotations

import email
import json
import time
from email.policy import default
from email.utils import make_msgid
from typing import Final

import click

from ..courier.smtp_session import Fate, SmtpSession
from ..courier.webhook import post_test
from ..log.formats import escape_controls
from ..mail.message import Envelope, render_test
from ..mail.times import moment
from ..report.wording import counted
from ..settings import Settings
from ..spool.incoming import Incoming
from ..spool.inventory import STUCK, Inventory
from ..spool.posts import last_problem, posts_by_state, posts_wait_since, retry_posts
from ..spool.retention import expire
from ..spool.stored_report import StoredReport
from .command_group import (
    NumberRange,
    group,
    open_inventory,
    settings_of_app,
    show_text,
    warn_without_courier,
)
from .open_spool import delivery_words, wait_for_delivery

# The states of errors, in the order of the list.
STATES: Final = {
    "waiting": "waiting for the mail server",
    "delivered": "delivered",
    "elsewhere": "left to another machine, whose mail has not been sent yet",
    "held": "held for a digest or summary",
    "failed": "whose mail the server refused",
    "off": "reported to the webhook only",
    "hidden": "hidden, because they are muted or ignored",
    "unmailable": "recorded while mail was off",
    "new": "not processed yet",
}
NO_SERVER: Final = "MAIL_SERVER is not set: no mail is sent."
SELDOM: Final = frozenset({"elsewhere", "off", "hidden", "new"})  # listed only if there are any


def _admins() -> tuple[str, ...]:
    mail = settings_of_app().mail
    if mail.server is None:
        raise click.ClickException(NO_SERVER)
    return mail.admins


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

    The exit status is 1 if mail has been stuck for an hour or was refused, or if reports cannot be
    read.
    """
    settings = settings_of_app()
    with open_inventory() as (inventory, waiting):
        _list_errors(inventory, len(waiting))
        _list_mails(inventory, last)
        _list_posts(inventory)
        problems = _problems(inventory, waiting)
        if settings.mail.server is None:
            click.echo(NO_SERVER, err=True)
        if settings.mail.server or settings.webhook.url:
            warn_without_courier()
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)


def _list_errors(inventory: Inventory, waiting: int) -> None:
    counts = inventory.error_counts() | {"new": waiting}
    for state, words in STATES.items():
        count = counts.get(state, 0)
        if not count and state in SELDOM:
            continue
        click.echo(f"{count:>8} {'error' if count == 1 else 'errors'} {words}")


def _list_mails(inventory: Inventory, last: int) -> None:
    for mail in inventory.last_mails(last):
        what = f"{mail.state:9}  {mail.kind} of {mail.count}"
        show_text(f"{mail.id:>6}  {moment(mail.created)}  {what}  {mail.subject}")
        if mail.error and mail.state == "waiting":
            at = f"at {moment(mail.next_try)}" if mail.next_try > time.time() else "now"
            show_text(f"        tried {counted(mail.tries, 'time')}, next try {at}: {mail.error}")
        elif mail.error:
            show_text(f"        {mail.error}")


def _list_posts(inventory: Inventory) -> None:
    """Print how many messages to the webhook there are, and why they wait."""
    counts = posts_by_state(inventory)
    if not counts:
        return
    shown = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    click.echo(f"Webhook: {counted(sum(counts.values()), 'message')}, {shown}")
    if (problem := last_problem(inventory)) is not None:
        tries, next_try, error = problem
        at = f"at {moment(next_try)}" if next_try > time.time() else "now"
        show_text(f"        tried {counted(tries, 'time')}, next try {at}: {error}")


def _problems(inventory: Inventory, waiting: list[StoredReport]) -> list[str]:
    """Return the problems that an operator has to fix, one sentence each."""
    settings = settings_of_app()
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
        since = moment(first)
        problems.append(f"Mail has been stuck since {since}: run `flask mayday reports test`.")
    posts = posts_wait_since(inventory) if settings.webhook.url else None
    if posts is not None and posts < time.time() - STUCK:
        since = moment(posts)
        problems.append(
            f"The webhook has been stuck since {since}: run `flask mayday reports test`."
        )
    if refused := inventory.refused():
        problems.append(
            f"{counted(refused, 'mail')} refused by the mail server: see "
            "`flask mayday reports show NUMBER`, and run `flask mayday reports retry` to try again."
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
    with open_inventory() as (inventory, waiting):
        is_number = identifier.isdigit() and len(identifier) < 32
        content = inventory.mail_content(identifier) if is_number else None
        reports = inventory.reports_of_request(identifier, waiting) if content is None else []
    if content is not None:
        _show_mail(identifier, content)
        return
    if not reports:
        raise click.ClickException(
            f"No mail or request {identifier} in the spool: see `flask mayday reports list`."
        )
    for report in reports:
        show_text(json.dumps(json.loads(report.to_json()), indent=2, ensure_ascii=False))


def _show_mail(identifier: str, content: bytes) -> None:
    if not content:
        raise click.ClickException(
            f"The text of mail {identifier} was deleted: the mail was delivered, and then its "
            "text expired or the spool was full. See SPOOL_MAX_BYTES."
        )
    message = email.message_from_bytes(content, policy=default)
    body = message.get_body(("plain",))
    show_text(f"Subject: {message['Subject']}\n")
    show_text(body.get_content().replace("\r\n", "\n") if body is not None else "")


@group.command()
@click.argument("request_id")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=NumberRange(0, 3600),
    default=0,
    help="Wait for the outcome, for at most SECONDS.",
)
def status(request_id: str, wait: float) -> None:
    """Say whether the mail server has accepted the mail about a request's error.

    The exit status is 1 if it has not, although MAIL_SERVER is set, or if the error has not been
    processed yet.
    """
    settings = settings_of_app()
    request_id = escape_controls(request_id)
    found = wait_for_delivery(settings.spool.folder, request_id, wait)
    if found is None:
        raise click.ClickException(f"No error of request {request_id} has been processed yet.")
    show_text(delivery_words(found, settings.mail.server))
    if found.state != "delivered" and settings.mail.server:
        raise SystemExit(1)


@group.command()
def retry() -> None:
    """Try to send every waiting mail and webhook message now, and every refused mail again."""
    settings = settings_of_app()
    with open_inventory() as (inventory, _):
        waiting, failed = inventory.retry(settings.mail.admins)
        if posts := retry_posts(inventory):
            click.echo(f"Trying {counted(posts, 'message')} to the webhook now.")
            if settings.webhook.url is None:
                click.echo("REPORT_WEBHOOK_URL is not set: nothing is posted.", err=True)
        if waiting + failed:
            refused = f", {failed} of which had been refused" if failed else ""
            click.echo(f"Trying {counted(waiting + failed, 'mail')} now{refused}.")
            if settings.mail.server is None:
                click.echo(NO_SERVER, err=True)
        if waiting + failed + posts:
            warn_without_courier()
        else:
            click.echo("Nothing to retry.")


@group.command()
@click.argument("numbers", metavar="[NUMBER]...", type=click.IntRange(1, 1 << 62), nargs=-1)
@click.option("--hours", type=NumberRange(0), help="Also all mails of the last HOURS hours.")
def resend(numbers: tuple[int, ...], hours: float | None) -> None:
    """Send delivered mails again, for example after the mail server has lost them.

    They keep their Message-ID. NUMBER is the number of a mail in `flask mayday reports list`.
    """
    if not numbers and hours is None:
        raise click.UsageError("Give the numbers of mails, or use --hours.")
    admins = _admins()
    since = time.time() - hours * 3600 if hours is not None else float("inf")
    with open_inventory() as (inventory, _):
        count = inventory.resend(admins, numbers, since)
        click.echo(f"{counted(count, 'mail')} will be sent again.")
        if count:
            warn_without_courier()


@group.command("purge")
@click.option(
    "--days",
    type=click.IntRange(0, 36_500),
    help="Keep the reports of the last DAYS days [REPORT_KEEP_DAYS].",
)
def purge_reports(days: int | None) -> None:
    """Delete reports that were delivered or recorded while mail was off, and keep the rest."""
    settings = settings_of_app().reports
    keep = settings.keep_days if days is None else days
    now = time.time()
    with open_inventory() as (inventory, _):
        deleted = expire(inventory, now - keep * 86_400, now - max(settings.window, 3600))
    click.echo(f"{counted(deleted, 'report')} deleted.")


@group.command()
def test() -> None:
    """Send a test message on each channel now, and explain the error if that fails."""
    settings = settings_of_app()
    problems = []
    if settings.mail.server or not settings.webhook.url:
        problems.append(_test_mail(settings))
    if settings.webhook.url:
        reason = post_test(settings.webhook, settings.app)
        problems.append(f"The webhook: {reason}" if reason else "")
        if not reason:
            click.echo(f"Posted to the webhook at {settings.webhook.host}.")
    if any(problems):
        raise click.ClickException("\n".join(filter(None, problems)))


def _test_mail(settings: Settings) -> str:
    """Send a test mail; return the problem, or an empty string."""
    admins = _admins()
    message_id = make_msgid(domain=settings.mail.sender.rpartition("@")[2])
    envelope = Envelope(settings.mail.sender, admins, message_id, None, time.time(), settings.app)
    with SmtpSession(settings.mail) as session:
        verdict = session.send(admins, render_test(envelope))
    if verdict.fate is Fate.DELIVERED and not verdict.words:
        click.echo(f"Sent to {', '.join(admins)} through {settings.mail.server}.")
        return ""
    return verdict.words
