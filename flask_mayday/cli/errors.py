"""The commands for error groups: ``errors``, ``mute``, ``unmute``, ``resolve`` and ``ignore``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import click

from ..log.formats import escape_controls
from ..mail.history import release as release_of
from ..mail.times import moment
from ..report.wording import counted
from ..spool import groups, ignore_rules
from ..spool.error_group import MUTED, ErrorGroup, State
from ..spool.grouping import hide_matching, hide_pending
from ..spool.ignore_rules import PATTERN_LENGTH, IgnoreRule
from ..spool.inventory import Inventory
from .command_group import group, open_inventory, settings_of_app, show_text

SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
LONGEST: Final = 10 * 366 * 86_400  # seconds


def duration_of(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a duration such as ``30m``, ``12h``, ``7d`` or ``2w`` in seconds."""
    del ctx, param
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})([mhdw])", value)
    seconds = int(match[1]) * SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(
            f"{value!r} is not a duration of up to 10 years: write 30m, 12h, 7d or 2w."
        )
    return float(seconds)


def pattern_of(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """Return the pattern of a rule, empty if none is given."""
    del ctx
    if value is None:
        return ""
    if not value.strip("*? ") or len(value) > PATTERN_LENGTH or not value.isprintable():
        raise click.BadParameter(
            f"use 1 to {PATTERN_LENGTH} printable characters, and not only * and ?."
        )
    if param.name == "exception" and "." in value:
        raise click.BadParameter("use the name of the class without its module.")
    return value


@group.command()
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=50,
    show_default=True,
    help="How many error groups to list.",
)
@click.option("--state", type=click.Choice([state.value for state in State]))
def errors(last: int, state: str | None) -> None:
    """List the error groups with their route or logger, the one with the latest error first."""
    now = time.time()
    with open_inventory() as (inventory, waiting):
        known = groups.load_all(inventory)
        for one in known:
            one.end_mute(now)
        wanted = [one for one in known if state in (None, one.state.value)]
        for one in wanted[:last]:
            show_text(_line(one))
            for detail in _details(one):
                show_text(f"{'':26}{detail}")
    if len(wanted) > last:
        click.echo(f"{counted(len(wanted) - last, 'more group')}: use --last.", err=True)
    if waiting:
        click.echo(f"{counted(len(waiting), 'error')} not processed yet.", err=True)


@group.command()
@click.argument("fingerprint")
@click.option("--for", "duration", callback=duration_of, help="How long: 30m, 12h, 7d or 2w.")
@click.option("--until-release", is_flag=True, help="Until it occurs in another release.")
def mute(fingerprint: str, duration: float | None, until_release: bool) -> None:
    """Stop the mails about an error; it is still recorded and counted.

    Without an option it stays muted until `flask mayday reports unmute`. FINGERPRINT is in each
    mail and in `flask mayday reports errors`; its beginning is enough. Errors that wait for a
    digest are hidden too.
    """
    if duration is not None and until_release:
        raise click.UsageError("Use either --for or --until-release.")
    now = time.time()
    until = None if duration is None else now + duration

    def change(one: ErrorGroup, inventory: Inventory) -> str:
        release = _release(inventory, one) if until_release else ""
        if until_release and not release:
            raise click.ClickException("RELEASE is not set, so no release can end it: use --for.")
        one.mute(now, until, release)
        hide_pending(inventory, one, MUTED)
        return "; ".join(_details(one))

    _change(fingerprint, change)


@group.command()
@click.argument("fingerprint")
def unmute(fingerprint: str) -> None:
    """Mail an error again, from its next occurrence on."""

    def change(one: ErrorGroup, inventory: Inventory) -> str:
        del inventory
        if one.state is not State.MUTED:
            raise click.ClickException(f"{one.fingerprint} is not muted: it is {one.state}.")
        one.unmute()
        return f"{one.state}; {counted(one.muted_count, 'error')} hidden"

    _change(fingerprint, change)


@group.command()
@click.argument("fingerprint")
def resolve(fingerprint: str) -> None:
    """Mark an error as fixed: if it occurs again, the mail says that it is back."""

    def change(one: ErrorGroup, inventory: Inventory) -> str:
        one.resolve(time.time(), _release(inventory, one))
        return "; ".join(_details(one))

    _change(fingerprint, change)


@group.command()
@click.option("--exception", callback=pattern_of, help="Name of the exception class.")
@click.option("--logger", callback=pattern_of, help="Name of the logger.")
@click.option(
    "--route", callback=pattern_of, help="Route, with or without the method: GET /user/*."
)
@click.option("--message", callback=pattern_of, help="Pattern for the whole message.")
@click.option("--delete", "number", type=click.IntRange(1, 1 << 62), help="Delete this rule.")
def ignore(number: int | None, **patterns: str) -> None:
    """List, add or delete the rules that hide errors.

    Without options the rules are listed, each with the number of errors that it has hidden. A new
    rule hides the errors that match all of its patterns: they are recorded and counted, and not
    mailed. In a pattern * stands for any text and ? for any character.
    """
    if number is not None and any(patterns.values()):
        raise click.UsageError("Use either --delete or patterns.")
    with open_inventory() as (inventory, _):
        if number is not None:
            if not ignore_rules.delete_rule(inventory, number):
                raise click.ClickException(
                    f"There is no rule {number}: see `flask mayday reports ignore`."
                )
            click.echo(f"Rule {number} deleted.")
        elif any(patterns.values()):
            _add_rule(inventory, IgnoreRule(0, time.time(), **patterns))  # type: ignore[arg-type]
        else:
            _list_rules(ignore_rules.ignore_rules(inventory))


def _add_rule(inventory: Inventory, rule: IgnoreRule) -> None:
    with inventory.transaction():
        number = rule.id = ignore_rules.add_rule(inventory, rule)
        hidden = hide_matching(inventory, rule)
    click.echo(
        f"Rule {number} added. It hides {counted(hidden, 'error')} waiting for a digest or summary."
    )


def _list_rules(rules: list[IgnoreRule]) -> None:
    for rule in rules:
        last = f", the last at {moment(rule.last_hidden)}" if rule.last_hidden else ""
        show_text(f"{rule.id:>6}  {counted(rule.hidden, 'error')} hidden{last}  {rule}")
    if not rules:
        click.echo("There are no rules.")


def _change(prefix: str, change: Callable[[ErrorGroup, Inventory], str]) -> None:
    """Change the one group whose fingerprint begins with ``prefix``, and print the outcome."""
    if not prefix:
        raise click.UsageError("Give the fingerprint, or its beginning.")
    prefix = escape_controls(prefix.lower())
    with open_inventory() as (inventory, _):
        with inventory.transaction():
            found = groups.matching(inventory, prefix)
            if len(found) != 1:
                raise click.ClickException(_not_one(prefix, found))
            found[0].end_mute(time.time())
            outcome = change(found[0], inventory)
            groups.save(inventory, found)
        show_text(f"{found[0].fingerprint}  {found[0].title}\n{'':18}{outcome}")


def _release(inventory: Inventory, one: ErrorGroup) -> str:
    """Return the release that is running. The environment of this command may not have it."""
    release = settings_of_app().app.release or groups.latest_release(inventory)
    return release or one.last_release


def _not_one(prefix: str, found: list[ErrorGroup]) -> str:
    if not found:
        return f"No error has the fingerprint {prefix}: see `flask mayday reports errors`."
    names = ", ".join(one.fingerprint for one in found[:10])
    return f"{counted(len(found), 'error group')} begin with {prefix}: {names}. Give more digits."


def _line(one: ErrorGroup) -> str:
    hidden = f" ({one.hidden} hidden)" if one.hidden else ""
    seen = f"first {moment(one.first_seen)}, last {moment(one.last_seen)}"
    counts = f"{counted(one.count, 'error')}{hidden}, {counted(one.mails, 'mail')}"
    release = f"release {one.last_release or 'unknown'}"
    where = f" ({one.source})" if one.source else ""
    return f"{one.fingerprint}  {one.state:8}  {counts}, {seen}, {release}  {one.title}{where}"


def _details(one: ErrorGroup) -> list[str]:
    """Return until when a group is muted, and when it was resolved."""
    details = []
    if one.state is State.MUTED:
        until = "until `flask mayday reports unmute`"
        if one.muted_until is not None:
            until = f"until {moment(one.muted_until)}"
        elif one.muted_release:
            until = f"until it occurs in a release other than {one.muted_release}"
        details.append(f"muted {until}, {counted(one.muted_count, 'error')} hidden")
    if one.state in (State.RESOLVED, State.BACK) and one.resolved_at is not None:
        when = f"{moment(one.resolved_at)} in {release_of(one.resolved_release)}"
        back = f", back {moment(one.back_at)}" if one.state is State.BACK and one.back_at else ""
        details.append(f"resolved {when}{back}")
    return details
