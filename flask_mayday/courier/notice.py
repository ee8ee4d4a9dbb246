"""The notice: a mail about mails that the server has refused because of what is in them."""

from __future__ import annotations

import string
from typing import Final

from ..mail.draft import Draft, draft_notice
from ..mail.times import moment
from ..report.wording import counted
from ..settings import AppSettings

MAX_REQUEST_IDS: Final = 100

HOW_TO_READ: Final = (
    "They are not sent again unless you ask for it. Read them with",
    "  flask mayday reports list",
    "  flask mayday reports show NUMBER",
    "Once the mail server's filter has been changed, send them again with",
    "  flask mayday reports retry",
)


def draft_refused(count: int, request_ids: list[str], now: float, app: AppSettings) -> Draft:
    """Return the notice about ``count`` errors: nothing in it comes from outside.

    Only request ids of hex digits, as nginx and this package make them, are shown.
    """
    safe = [one for one in request_ids if set(one) <= set(string.hexdigits)]
    lines = [*HOW_TO_READ, "", *(["Request ids:"] if safe else []), *safe[:MAX_REQUEST_IDS]]
    if len(safe) > MAX_REQUEST_IDS:
        lines.append(f"and {len(safe) - MAX_REQUEST_IDS} more")
    rows = [("Time", moment(now)), ("Errors", str(count))]
    where = "The mail server rejected these mails because of their content."
    what = f"{counted(count, 'error')} could not be mailed"
    return draft_notice(app, what, where, rows, lines, count=count)
