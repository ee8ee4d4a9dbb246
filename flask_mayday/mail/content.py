"""What a mail says, before it becomes text and HTML: a headline and sections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..context.record_fields import ANSWERED_BY_NGINX, REPORTED, RESPONDING, title_of_requests
from ..report.report import Report
from ..report.traceback_data import RaisedException
from ..report.wording import counted
from ..settings import AppSettings
from ..spool.error_group import ErrorGroup
from .history import history_rows
from .times import moment

HEADLINE_LENGTH: Final = 300  # characters of the message
MAX_GROUPS: Final = 100  # in a summary
REQUEST_IDS: Final = 20  # in a digest, at most
# What became of a request when its worker died.
STATES: Final = {
    REPORTED: "already reported",
    RESPONDING: "response was being sent",
    ANSWERED_BY_NGINX: "answered by nginx",
}


@dataclass(frozen=True, slots=True)
class Digest:
    """Identical errors since the last mail about them. Times are in seconds since the epoch."""

    count: int
    first: float
    last: float
    request_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class HeldErrors:
    """Identical errors that the hourly cap held back; ``report`` is the first of them.

    ``is_back`` is true if they have come back after they were resolved.
    """

    count: int
    first: float
    report: Report
    is_back: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Named values."""

    title: str
    rows: Sequence[tuple[str, str]]
    kind: str = "rows"


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of text, shown as they are."""

    title: str
    lines: Sequence[str]
    kind: str = "lines"


@dataclass(frozen=True, slots=True)
class Traceback:
    """Exceptions with their frames."""

    title: str
    exceptions: Sequence[RaisedException]
    kind: str = "traceback"


Section = Rows | Lines | Traceback


@dataclass(frozen=True, slots=True)
class Content:
    """A mail: what happened, where, and the rest in the order in which it is needed."""

    what: str
    where: str
    sections: Sequence[Section]


def report_content(
    report: Report,
    app: AppSettings,
    digest: Digest | None,
    group: ErrorGroup | None = None,
    *,
    is_back: bool = False,
) -> Content:
    """Return the mail about one error, or, with ``digest``, about all identical ones in it.

    ``is_back`` says that it is the first mail since the error of ``group`` came back.
    """
    sections: list[Section] = []
    if digest is not None:
        sections.append(_digest_rows(digest))
    history = [] if group is None else history_rows(group, report, is_back=is_back)
    rows = _summary(report, app) + history
    sections.append(Rows("The first of them" if digest else "", rows))
    if not _shows_message(report):
        sections.append(Lines("Message", report.message.split("\n")))
    if report.context:
        sections.append(Rows("Context", _pairs(report.context)))
    sections += _traceback(report)
    if report.earlier:
        sections.append(Lines("Logged earlier in this request", report.earlier))
    if digest is not None and digest.request_ids:
        sections.append(_request_ids(digest))
    sections += _request_details(report)
    sections.append(Rows("Origin", _origin(report, app)))
    where = " ".join(f"{report.where}, {report.place}".strip(", ").split())
    what = f"{report.type}: {_headline(report)}".rstrip(": ")
    return Content(what, where, sections)


def summary_content(groups: Sequence[HeldErrors], limit: int, app: AppSettings) -> Content:
    """Return the mail that counts the errors which the hourly cap, ``limit``, held back."""
    total = sum(group.count for group in groups)
    lines = []
    for group in groups[:MAX_GROUPS]:
        report = group.report
        back = "back: " if group.is_back else ""
        what = f"{back}{report.type}: {first_line(report.message)[:200]}"
        lines.append(f"{group.count:>7} x {what} {report.where}")
        lines.append(f"          since {moment(group.first)}, fingerprint {report.fingerprint}")
    if others := groups[MAX_GROUPS:]:
        count = sum(group.count for group in others)
        lines.append(f"and {counted(count, 'error')} of {counted(len(others), 'more kind')}")
    were = "was" if total == 1 else "were"
    kinds = counted(len(groups), "kind")
    return Content(
        f"{counted(total, 'more error')} of {kinds} {were} not mailed individually",
        f"The hourly cap was reached (REPORT_MAILS_PER_HOUR={limit}). "
        "All of these errors are in the log.",
        [Lines("Most frequent first", lines), Rows("Origin", app_rows(app))],
    )


def first_line(message: str) -> str:
    """Return the first line of a message that has any text."""
    return message.strip().split("\n", 1)[0]


def _headline(report: Report) -> str:
    first = first_line(report.message)
    return first if len(first) <= HEADLINE_LENGTH else f"{first[:HEADLINE_LENGTH]}…"


def _shows_message(report: Report) -> bool:
    """Return whether the headline or the traceback shows the whole message."""
    lines = report.message.split("\n")
    return _headline(report) == report.message or all(line in report.traceback for line in lines)


def _digest_rows(digest: Digest) -> Rows:
    rows = [
        ("Count", f"{digest.count} since the last mail about this error"),
        ("First", moment(digest.first)),
        ("Last", moment(digest.last)),
    ]
    return Rows("Identical errors", rows)


def _request_ids(digest: Digest) -> Lines:
    shown = len(digest.request_ids)
    is_all = shown < REQUEST_IDS or shown == digest.count
    title = "Request ids" if is_all else f"The first {shown} request ids"
    return Lines(title, list(digest.request_ids))


def _summary(report: Report, app: AppSettings) -> list[tuple[str, str]]:
    rows = []
    request = report.request
    if request is not None:
        address = request.get("url") or request.get("path", "")
        rows.append(("Request", f"{request.get('method', '')} {address}"))
        rows.append(("User", report.user or str(request.get("user", ""))))
        rows.append(("Client", str(request.get("client", ""))))
    if report.request_id is not None:
        rows.append(("Request id", report.request_id))
        rows.append(("Trace id", str((request or {}).get("trace", ""))))
        rows.append(("Log lines", app.log_hint.replace("{request_id}", report.request_id)))
    rows.append(("Time", moment(report.time)))
    return [(name, value) for name, value in rows if value]


def _traceback(report: Report) -> list[Section]:
    sections: list[Section] = []
    if report.exceptions:
        sections.append(Traceback("Exception", report.exceptions))
    if report.requests:
        title = title_of_requests(report.requests)
        sections.append(Rows(title, [_interrupted(one) for one in report.requests]))
    # Reports of versions before this one, and repetitions, have their traceback as text only.
    has_data = report.exceptions or report.requests or report.stack
    if text := report.stack if has_data else report.traceback:
        sections.append(Lines("Stack" if has_data else "Traceback", text.rstrip("\n").split("\n")))
    return sections


def _interrupted(request: Mapping[str, object]) -> tuple[str, str]:
    state = STATES.get(str(request.get("state")), "not answered")
    name = f"{request.get('method', '')} {request.get('path', '')}"
    if "request_id" not in request:
        return "Requests", name.strip()
    return name, f"{state}, request {request['request_id']}"


def _request_details(report: Report) -> list[Section]:
    """Return what the request sent, as far as the app had read it."""
    request = report.request or {}
    sections: list[Section] = []
    titles = {"query": "Query", "form": "Form", "json": "JSON", "files": "Files"}
    for name, title in {**titles, "headers": "Headers"}.items():
        value = request.get(name)
        if isinstance(value, Mapping) and value:
            sections.append(Rows(title, _pairs(value)))
        elif value:
            sections.append(Lines(title, [_shown(value)]))
    rest = [("Content type", "type"), ("Size in bytes", "size")]
    if rows := [(title, str(request[name])) for title, name in rest if request.get(name)]:
        sections.append(Rows("Body", rows))
    return sections


def _pairs(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(str(name), _shown(value)) for name, value in values.items()]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def app_rows(app: AppSettings) -> list[tuple[str, str]]:
    """Return what every mail says about the app."""
    rows = [
        ("App", app.name),
        ("Environment", app.environment),
        ("Release", app.release or "unknown"),
    ]
    return [*rows, ("Node", app.node)] if app.node else rows


def _origin(report: Report, app: AppSettings) -> list[tuple[str, str]]:
    rows = [
        *app_rows(replace(app, node=report.node or app.node)),
        ("Host", report.host),
        ("Process", str(report.process)),
        ("Python", report.python),
        ("Logged as", f"{report.level} of {report.logger}" if report.logger else ""),
        ("Fingerprint", report.fingerprint),
    ]
    return [(name, value) for name, value in rows if value]
