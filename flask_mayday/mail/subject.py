"""The subject of an error mail: one line that is safe in every mail client."""

from __future__ import annotations

import re
from typing import Final

from ..report.report import Report
from ..report.wording import counted
from .content import first_line

SUBJECT_LENGTH: Final = 150  # characters
LABEL_LENGTH: Final = 60

# For a character class. Control characters other than tab and newline, and line separators, would
# forge a header or a line; bidirectional controls would show the text in another order; UTF-8
# cannot hold lone surrogates.
UNPRINTABLE_CHARACTERS: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
)
UNSAFE: Final = re.compile(f"[\t\n{UNPRINTABLE_CHARACTERS}]+")
# Some clients, MailHog's among them, show a subject as HTML: part of it comes from a visitor.
TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")


def report_subject(
    report: Report, label: str, count: int | None = None, *, is_back: bool = False
) -> str:
    """Return ``[<label>] <Type>: <message> <where>``, of at most 150 characters.

    ``label`` names the app and, unless it is production, the environment. ``count`` is how often
    a digest's error has occurred. ``is_back`` puts ``back:`` before the type: the error had been
    resolved.
    """
    what = f"{report.type}: {_without_request(first_line(report.message), report)}".rstrip(": ")
    times = "" if count is None else f" ({counted(count, 'time')})"
    where = report.where if _is_route(report) else _without_tags(report.where)
    tail = one_line(f"{times} {where}")[: SUBJECT_LENGTH // 2]
    back = "back: " if is_back else ""
    text = one_line(f"[{label[:LABEL_LENGTH]}] {back}{_without_tags(what)}")
    return f"{text[: SUBJECT_LENGTH - len(tail) - 1].rstrip()} {tail}".rstrip()


def one_line(text: str) -> str:
    """Return a text as one line for a header: unsafe characters and white space become a space."""
    return " ".join(UNSAFE.sub(" ", text).split())


def _without_tags(text: str) -> str:
    return TAG.sub("< ", text)


def _is_route(report: Report) -> bool:
    """Return whether ``where`` is a route, which comes from the app and not from a visitor."""
    route = (report.request or {}).get("route")
    return bool(route) and report.where.endswith(f" {route}")


def _without_request(message: str, report: Report) -> str:
    """Return a message without the method and path at its end: the subject ends with them too."""
    request = report.request or {}
    asked = f"{request.get('method', '')} {request.get('path', '')}"
    for before in (": ", " to "):
        message = message.removesuffix(f"{before}{asked}")
    return message
