"""What the administrators read: a report, a digest of equal ones, or a summary, as a message."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from .outbox import Group
from .report import Report

PREFIX: Final = "[Microblog]"
SUBJECT_MAXIMUM: Final = 150  # characters
KINDS_MAXIMUM: Final = 100  # in a summary
LINE_MAXIMUM: Final = 900  # bytes; RFC 5322 section 2.1.1 ends a line at 998

# Controls, but for tab and newline, and lone surrogates, which UTF-8 cannot hold.
NOT_IN_A_BODY: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

# A mail client that runs what a subject holds is a client that people use (MailHog's is one),
# and part of the subject comes from a request.
NOT_IN_A_SUBJECT: Final = re.compile(r"[^A-Za-z0-9 _.,:;/(){}\[\]'=-]")

# Only a list of very many recipients is folded: the subject is to be found in one piece.
POLICY: Final = SMTP.clone(cte_type="8bit", max_line_length=LINE_MAXIMUM)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom, under which Message-ID, in answer to which."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    thread: str | None
    created: float


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often an error has come back since the last mail. Times in seconds since the epoch."""

    count: int
    first: float
    last: float
    request_ids: Sequence[str]


def report_subject(report: Report, repeats: Repeats | None = None) -> str:
    """Return ``[Microblog] <Type>: <message> <where>``, safe and at most 150 characters long."""
    first_line = report.message.strip().split("\n", 1)[0]
    text = _plain(f"{PREFIX} {report.type}: {first_line}".rstrip(": "))
    times = f" ({repeats.count} times)" if repeats is not None else ""
    tail = _plain(f"{times} {report.where}")[: SUBJECT_MAXIMUM // 2]
    return _one_space(text[: SUBJECT_MAXIMUM - len(tail)].rstrip() + tail)


def render_report(report: Report, envelope: Envelope, repeats: Repeats | None = None) -> bytes:
    """Return the message for one error, or for all its repeats in a window."""
    sections = [("", _headline(report))]
    if repeats is not None:
        sections.append(("Repeats", _repeats(repeats)))
    if report.request is not None:
        sections.append(("Request", _request(report)))
    sections.append(("Traceback", report.traceback or "There is none: nothing was raised."))
    sections.append(("Process", _process(report)))
    return _render(
        envelope,
        subject=report_subject(report, repeats),
        sections=sections,
        headers={
            "X-Request-ID": report.request_id,
            "X-Error-Fingerprint": report.fingerprint,
            "X-Error-Count": str(repeats.count if repeats else 1),
        },
    )


def render_summary(groups: Iterable[tuple[Group, Report]], envelope: Envelope, cap: int) -> bytes:
    """Return the message that counts the errors which the hourly cap kept from a mail."""
    entries = sorted(groups, key=lambda entry: entry[0].count, reverse=True)
    total = sum(group.count for group, _ in entries)
    lines = [
        f"{group.count:>7} x {report.type}: {_first(report.message)} {report.where}\n"
        f"          since {_moment(group.first)}, fingerprint {group.fingerprint}"
        for group, report in entries[:KINDS_MAXIMUM]
    ]
    if others := entries[KINDS_MAXIMUM:]:
        count = sum(group.count for group, _ in others)
        lines.append(f"and {len(others)} more kinds with {count} errors")
    intro = (
        f"{total} errors of {len(entries)} kinds have no mail of their own: the limit of\n"
        f"REPORT_MAILS_PER_HOUR={cap} is reached. All of them are in the log."
    )
    return _render(
        envelope,
        subject=f"{PREFIX} {total} more errors of {len(entries)} kinds",
        sections=[("", intro), ("Errors", "\n".join(lines))],
        headers={"X-Error-Count": str(total)},
    )


def _headline(report: Report) -> str:
    lines = [f"{report.type}: {report.message}".rstrip(": "), f"{report.where}"]
    lines.append(f"Time:        {_moment(report.time)}")
    lines.append(f"Fingerprint: {report.fingerprint}")
    if report.request_id is not None:
        lines.append(f"Request id:  {report.request_id}")
        lines.append(f"Log lines:   make logs REQUEST={report.request_id}")
    return "\n".join(lines)


def _repeats(repeats: Repeats) -> str:
    lines = [
        f"Count:       {repeats.count} since the last mail about this error",
        f"First:       {_moment(repeats.first)}",
        f"Last:        {_moment(repeats.last)}",
    ]
    if repeats.request_ids:
        lines.append("Request ids: " + "\n             ".join(repeats.request_ids))
    return "\n".join(lines)


def _request(report: Report) -> str:
    request = report.request or {}
    lines = [f"{request.get('method', '')} {request.get('path', '')}"]
    lines.append(f"Client: {request.get('client', '')}")
    for title in ("query", "headers"):
        fields = request.get(title)
        if isinstance(fields, Mapping) and fields:
            lines.append(f"{title.capitalize()}:")
            lines += [f"  {name}: {value}" for name, value in fields.items()]
    return "\n".join(lines)


def _process(report: Report) -> str:
    return (
        f"{report.level} of logger {report.logger}\n"
        f"Host {report.host}, process {report.process}, Python {report.python}"
    )


def _render(
    envelope: Envelope,
    *,
    subject: str,
    sections: Sequence[tuple[str, str]],
    headers: Mapping[str, str | None],
) -> bytes:
    message = EmailMessage(policy=POLICY)
    message["Subject"] = subject
    message["From"] = Address("Microblog", addr_spec=envelope.sender)
    message["To"] = ", ".join(envelope.recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(envelope.created, UTC))
    message["Message-ID"] = envelope.message_id
    if envelope.thread is not None:
        message["References"] = envelope.thread
        message["In-Reply-To"] = envelope.thread
    # RFC 3834: no holiday answers to a machine.
    message["Auto-Submitted"] = "auto-generated"
    for name, value in headers.items():
        if value is not None:
            message[name] = value
    message.set_content(_text(sections), charset="utf-8", cte="8bit")
    message.add_alternative(_html(subject, sections), "html", charset="utf-8", cte="8bit")
    return message.as_bytes()


def _text(sections: Sequence[tuple[str, str]]) -> str:
    blocks = [f"{title}\n{'-' * len(title)}\n{body}" if title else body for title, body in sections]
    return _lines("\n\n".join(blocks), str) + "\n"


def _html(subject: str, sections: Sequence[tuple[str, str]]) -> str:
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{html.escape(subject)}</title></head>",
        '<body style="font-family:system-ui,sans-serif;max-width:60rem;margin:1rem">',
    ]
    for title, body in sections:
        if title:
            parts.append(f'<h2 style="font-size:1rem">{html.escape(title)}</h2>')
        parts += [
            '<pre style="white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px">',
            f"{_lines(body, html.escape)}</pre>",
        ]
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _lines(text: str, escape: Callable[[str], str]) -> str:
    """Return ``text`` in lines that SMTP carries, with lone surrogates and controls escaped."""
    clean = NOT_IN_A_BODY.sub(
        lambda match: match[0].encode("unicode_escape").decode("ascii"),
        text.replace("\r\n", "\n"),
    )
    return "\n".join(escape(piece) for line in clean.split("\n") for piece in _pieces(line, escape))


def _pieces(line: str, escape: Callable[[str], str]) -> list[str]:
    if len(escape(line).encode()) <= LINE_MAXIMUM:
        return [line]
    size = LINE_MAXIMUM // 6  # the longest that one character can become: &#x27;
    return [line[start : start + size] for start in range(0, len(line), size)]


def _plain(text: str) -> str:
    return NOT_IN_A_SUBJECT.sub("_", text.replace('"', "'").replace("`", "'"))


def _one_space(text: str) -> str:
    return re.sub(" {2,}", " ", text)


def _first(message: str) -> str:
    return message.strip().split("\n", 1)[0][:200]


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "at an unknown time"
