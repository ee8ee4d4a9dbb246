"""Conditions of the machine that may lead to an outage: volumes, mail, restarts, certificates."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..spool.inventory import mail_state
from ..spool.outbox import Outbox
from ..spool.ownership import make_folder
from ..spool.starts import START, STOP, server_events
from . import texts
from .alerts import Alert
from .state import WatchState

NEARLY_FULL: Final = 0.1  # the free share of a volume below which it is nearly full
NEARLY_FULL_BYTES: Final = 5 << 30  # more than this is enough, whatever the share
FULL_BYTES: Final = 256 << 10  # with less than this free, only small writes succeed
CLEARED: Final = 1.5  # times as much must be free before the condition counts as over
WAITS_TOO_LONG: Final = 90.0  # seconds after which a waiting mail suppresses the heartbeat
MAIL_STUCK: Final = 900.0  # seconds after which a waiting mail raises an alert
RESTARTS: Final = 3  # this many starts within RESTARTS_WITHIN raise an alert
RESTARTS_WITHIN: Final = 60.0  # seconds
AGAIN_AFTER: Final = 86_400.0  # seconds after which a condition that lasts is reported again
PROBE: Final = "watch.probe"
PROBE_BYTES: Final = 64 << 10
NGINX_STARTS: Final = "starts"  # a line per start of nginx, in seconds since the epoch


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition: ``alert`` describes it while it lasts and is ``None`` when it is over.

    If ``is_uncertain``, neither can be said, and the last known state is kept.
    """

    name: str
    alert: Alert | None
    is_uncertain: bool = False


class Conditions:
    """The ongoing conditions: ``state.raised`` maps their names to when they were last reported.

    The dictionary is replaced and never changed: another thread may be saving the state.
    """

    def __init__(self, state: WatchState) -> None:
        self.state = state

    def alert_to_send(self, condition: Condition, now: float) -> Alert | None:
        """Return the alert of a condition if it is new or was last reported a day ago."""
        if condition.is_uncertain:
            return None
        others = {key: at for key, at in self.state.raised.items() if key != condition.name}
        reported = self.state.raised.get(condition.name)
        if condition.alert is None:
            self.state.raised = others
        elif reported is None or not 0 <= now - reported < AGAIN_AFTER:
            self.state.raised = {**others, condition.name: now}
            return condition.alert
        return None


def volume_conditions(
    volumes: Mapping[str, Path], status: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Iterator[Condition]:
    """Yield for each volume whether it is nearly full, or full."""
    for name, path in volumes.items():
        try:
            found = status(path)
        except OSError:
            continue
        free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        limit = min(NEARLY_FULL * total, NEARLY_FULL_BYTES)
        if name in texts.WITHOUT_VOLUME:
            alert = texts.volume_full(name, str(path)) if free < FULL_BYTES else None
            yield Condition(f"volume {name} full", alert, is_uncertain=FULL_BYTES <= free < limit)
            if alert:
                continue
        if free < limit:
            alert = texts.volume_nearly_full(name, str(path), free, total)
            yield Condition(f"volume {name}", alert)
        else:
            yield Condition(f"volume {name}", None, is_uncertain=free < limit * CLEARED)


def mail_conditions(outbox: Outbox, now: float) -> Iterator[Condition]:
    """Yield whether mail is stuck."""
    try:
        since, _, reason = mail_state(outbox.path)
    except sqlite3.Error:
        return
    stuck = since is not None and now - since >= MAIL_STUCK
    yield Condition("mail", texts.mail_stuck(now - since, reason) if since and stuck else None)


def restart_conditions(service: str, starts: list[float], now: float) -> Iterator[Condition]:
    """Yield whether a service has started too often within the last minute."""
    count = sum(now - start < RESTARTS_WITHIN for start in starts)
    alert = texts.keeps_restarting(service, count, RESTARTS_WITHIN)
    yield Condition(f"restarts of {service}", alert if count >= RESTARTS else None)


def starts_of_web(spool: Path, now: float) -> list[float]:
    """Return when the app's server started in the last minute, on the host with the most starts.

    A start after an orderly stop does not count. Raises :exc:`OSError`.
    """
    by_host: defaultdict[str, list[float]] = defaultdict(list)
    previous: dict[str, str] = {}
    for event in server_events(spool, now - 10 * RESTARTS_WITHIN):
        if event.kind == START and previous.get(event.host) != STOP:
            by_host[event.host].append(event.time)
        previous[event.host] = event.kind
    recent = [[one for one in found if one > now - RESTARTS_WITHIN] for found in by_host.values()]
    return max(recent, key=len, default=[])


def starts_of_nginx(edge_log: Path) -> list[float]:
    """Return when nginx was started, as its entrypoint has recorded. Raises :exc:`OSError`."""
    path = edge_log / NGINX_STARTS
    if not path.exists():
        return []
    words = path.read_text("ascii", "replace").split()
    return [float(word) for word in words[-20:] if word.isdecimal()]


def spool_trouble(outbox: Outbox) -> str:
    """Write a file to the spool; return what is wrong, as :meth:`.Outbox.trouble` does."""
    probe = outbox.folder / PROBE
    try:
        make_folder(outbox.folder)
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
        probe.unlink()
    except OSError as error:
        return not_written(error.strerror or type(error).__name__)
    return outbox.trouble()


def not_written(reason: str) -> str:
    """Return the text of :meth:`.Outbox.trouble` for a spool that cannot be written."""
    return f"cannot be written: {reason}. Errors are kept in memory only"


def why_mail_waits(outbox: Outbox, now: float) -> str:
    """Return why mail may not be delivered, or an empty string. Raises :exc:`sqlite3.Error`."""
    since, _, reason = mail_state(outbox.path)
    if since is not None and now - since > WAITS_TOO_LONG:
        return f"mail is waiting: {reason}".removesuffix(": ")
    for path in outbox.incoming.waiting()[:1]:
        try:
            if now - path.stat().st_mtime > WAITS_TOO_LONG:
                return "reports are waiting, and no courier has taken them in"
        except OSError:
            return ""
    return ""
