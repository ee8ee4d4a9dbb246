"""What a mail says, before it is text or HTML: a headline and sections, the same for both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ..report.report import Report

HEADLINE: Final = 300  # characters of the message
LINE_MAXIMUM: Final = 900  # bytes; RFC 5322 section 2.1.1 ends a line at 998

# Controls, but for tab and newline, and lone surrogates, which UTF-8 cannot hold.
NOT_IN_A_BODY: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often an error has come back since the last mail. Times in seconds since the epoch."""

    count: int
    first: float
    last: float
    request_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Named values."""

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Trace:
    """A traceback, with ``>`` before the app's own frames."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of text."""

    title: str
    lines: Sequence[str]


Section = Pairs | Trace | Lines


@dataclass(frozen=True, slots=True)
class Body:
    """The whole: what happened, where, and the rest in the order in which it is needed."""

    what: str
    where: str
    sections: Sequence[Section]


def body_of(report: Report, repeats: Repeats | None) -> Body:
    """Return what the mail about one error says, or about all its repeats in a window."""
    sections: list[Section] = []
    if repeats is not None:
        sections.append(_repeats(repeats))
    sections.append(Pairs("One of them" if repeats else "", _in_short(report)))
    if not _is_told(report):
        sections.append(Lines("Message", report.message.split("\n")))
    if report.traceback:
        sections.append(Trace("Traceback", report.traceback))
    else:
        sections.append(Lines("Traceback", ["There is none: nothing was raised."]))
    if report.earlier:
        sections.append(Lines("Logged by this request before", list(report.earlier)))
    if repeats is not None and repeats.request_ids:
        sections.append(_request_ids(repeats))
    sections += _fields(report)
    sections.append(Pairs("Process", _process(report)))
    place = f", {report.place}" if report.place else ""
    what = f"{report.type}: {_headline(report)}".rstrip(": ")
    return Body(what, f"{report.where}{place}", sections)


def moment(seconds: float) -> str:
    """Return a time as people read it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def lines(text: str, escape: Callable[[str], str]) -> list[str]:
    """Return ``text`` in lines that SMTP carries, with lone surrogates and controls escaped."""
    clean = NOT_IN_A_BODY.sub(
        lambda match: match[0].encode("unicode_escape").decode("ascii"),
        text.replace("\r\n", "\n"),
    )
    return [escape(piece) for line in clean.split("\n") for piece in _pieces(line, escape)]


def _pieces(line: str, escape: Callable[[str], str]) -> list[str]:
    if len(escape(line).encode()) <= LINE_MAXIMUM:
        return [line]
    size = LINE_MAXIMUM // 6  # the longest that one character can become: &#x27;
    return [line[start : start + size] for start in range(0, len(line), size)]


def _headline(report: Report) -> str:
    first = report.message.strip().split("\n", 1)[0]
    return first if len(first) <= HEADLINE else f"{first[:HEADLINE]}…"


def _is_told(report: Report) -> bool:
    """Tell whether headline and traceback have the whole message."""
    said = report.message.split("\n")
    return _headline(report) == report.message or all(line in report.traceback for line in said)


def _repeats(repeats: Repeats) -> Pairs:
    rows = [
        ("Count", f"{repeats.count} since the last mail about this error"),
        ("First", moment(repeats.first)),
        ("Last", moment(repeats.last)),
    ]
    return Pairs("Repeats", rows)


def _request_ids(repeats: Repeats) -> Lines:
    shown = len(repeats.request_ids)
    title = "Request ids" if shown == repeats.count else f"The first {shown} request ids"
    return Lines(title, list(repeats.request_ids))


def _in_short(report: Report) -> list[tuple[str, str]]:
    rows = []
    if report.request is not None:
        request = report.request
        rows.append(("Request", f"{request.get('method', '')} {request.get('path', '')}"))
        rows += [
            (name.capitalize(), str(request[name]))
            for name in ("route", "client", "user")
            if request.get(name)
        ]
    if report.request_id is not None:
        rows.append(("Request id", report.request_id))
        rows.append(("Log lines", f"make logs REQUEST={report.request_id}"))
    rows.append(("Time", moment(report.time)))
    rows.append(("Fingerprint", report.fingerprint))
    return rows


def _fields(report: Report) -> list[Section]:
    """Return what the request brought with it, as far as it had been read."""
    request = report.request or {}
    sections: list[Section] = []
    rest = [("URL", "url"), ("Content type", "type"), ("Size in bytes", "size")]
    if rows := [(title, str(request[name])) for title, name in rest if request.get(name)]:
        sections.append(Pairs("Request", rows))
    titles = {"query": "Query", "form": "Form", "json": "JSON", "files": "Files"}
    for name, title in {**titles, "headers": "Headers"}.items():
        value = request.get(name)
        if isinstance(value, Mapping) and value:
            sections.append(Pairs(title, [(str(key), _shown(value[key])) for key in value]))
        elif value and name in request:
            sections.append(Lines(title, [_shown(value)]))
    return sections


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _process(report: Report) -> list[tuple[str, str]]:
    return [
        ("Logged as", f"{report.level} of {report.logger}"),
        ("Host", report.host),
        ("Process", str(report.process)),
        ("Version", f"Microblog {report.version}, Python {report.python}"),
    ]
