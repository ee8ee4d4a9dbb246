"""The texts of the alerts. Each outage has an error group of its own, so that none is held back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from ..context.record_fields import ANSWERED_BY_NGINX
from ..mail.times import moment
from ..report.wording import counted, duration
from .alerts import Alert
from .state import ErrorPages

LISTED: Final = 100  # requests in a mail
# What happens while a volume is full; the spool has an alert of its own.
WITHOUT_VOLUME: Final = {
    "logs": "log lines go to stdout and stderr only",
    "edge-log": "error pages of nginx are not counted",
}


def site_down(
    began: float, seen: Sequence[tuple[float, str]], diagnosis: str, pages: ErrorPages
) -> Alert:
    """Return the alert that the site does not answer."""
    trouble = seen[-1][1] if seen else "no answer"
    details: dict[str, object] = {"Down since": moment(began), "Status": trouble}
    if diagnosis:
        details["Cause"] = diagnosis
    details["Seen"] = "\n".join(f"{moment(when)}: {what}" for when, what in seen)
    details["Error pages so far"] = _pages(pages)
    what = f"The site does not answer: {trouble}. {diagnosis}".strip()
    return Alert(what, f"site down {began}", details, listed(pages.requests))


def site_back(began: float, ended: float, pages: ErrorPages) -> Alert:
    """Return the alert that the site answers again."""
    got = counted(pages.count, "error page")
    down = duration(ended - began)
    what = f"The site answers again. It was down for {down}, and visitors got {got}"
    details: dict[str, object] = {
        "Down since": moment(began),
        "Back since": moment(ended),
        "Error pages": _pages(pages),
    }
    requests = listed(pages.requests)
    group = f"site back {began}"
    return Alert(what, group, details, requests, kind="Recovered", level=logging.WARNING)


def error_pages(pages: ErrorPages) -> Alert:
    """Return the alert about error pages of nginx that belong to no outage and no report."""
    what = f"nginx sent {counted(pages.count, 'error page')} in the app's place"
    details: dict[str, object] = {"Error pages": _pages(pages)}
    requests = listed(pages.requests)
    return Alert(what, "error pages of nginx", details, requests, level=logging.ERROR)


def spool_broken(trouble: str) -> Alert:
    """Return the alert that the spool does not work; ``trouble`` is its predicate."""
    return Alert(f"The spool {trouble}", "spool cannot be written")


def volume_nearly_full(name: str, path: str, free: int, total: int) -> Alert:
    """Return the alert about a volume; ``free`` and ``total`` are in bytes."""
    share = 100 * free // max(1, total)
    what = f"The volume {name} is nearly full: {_size(free)} of {_size(total)} are free ({share}%)"
    return Alert(what, f"volume {name} nearly full", {"Mounted at": path})


def volume_full(name: str, path: str) -> Alert:
    """Return the alert that a volume is full."""
    what = f"The volume {name} is full. Until there is space, {WITHOUT_VOLUME[name]}"
    return Alert(what, f"volume {name} full", {"Mounted at": path})


def mail_stuck(seconds: float, reason: str) -> Alert:
    """Return the alert that no mail is delivered."""
    what = f"Error mails have been waiting for {duration(seconds)}"
    return Alert(what, "mail stuck", {"Reason": reason} if reason else {})


def keeps_restarting(service: str, count: int, seconds: float) -> Alert:
    """Return the alert that a container was started again and again."""
    what = f"{service} keeps restarting: {count} starts within {duration(seconds)}"
    hint = f"docker compose logs --tail 50 {service}"
    return Alert(what, f"{service} keeps restarting", {"Its log": hint})


def certificate_expires(name: str, expires: float | None, now: float) -> Alert:
    """Return the alert about the site's certificate. Times are in seconds since the epoch.

    ``expires`` is ``None`` if the certificate expired at an unknown time.
    """
    left = 0.0 if expires is None else expires - now
    when = f"expires in {duration(left)}" if left > 0 else "has expired"
    what = f"The certificate of {name} {when}"
    details = {} if expires is None else {"Valid until": moment(expires)}
    return Alert(what, "certificate expires", details)


def listed(requests: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Return requests as a report keeps them."""
    names = ("request_id", "method", "path")
    return [
        {**{name: one[name] for name in names}, "state": ANSWERED_BY_NGINX}
        for one in requests[:LISTED]
    ]


def _pages(pages: ErrorPages) -> str:
    if not pages.count:
        return "none"
    by_status = ", ".join(f"{count} x {status}" for status, count in sorted(pages.statuses.items()))
    return f"{pages.count} ({by_status})"


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
