"""What the administrators read: a report, a digest of equal ones, or a summary, as a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from ..report.report import Report
from . import html_part as mail_html
from . import text_part as mail_text
from .body import LINE_MAXIMUM, Body, Lines, Repeats, body_of, moment

__all__ = ["Envelope", "Repeats", "render_report", "render_summary", "report_subject"]

PREFIX: Final = "[Microblog]"
SUBJECT_MAXIMUM: Final = 150  # characters
KINDS_MAXIMUM: Final = 100  # in a summary

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
class Held:
    """Errors of one kind that the hourly cap kept from a mail; ``report`` tells of the first."""

    count: int
    first: float
    report: Report


def report_subject(report: Report, repeats: Repeats | None = None) -> str:
    """Return ``[Microblog] <Type>: <message> <where>``, safe and at most 150 characters long."""
    first_line = report.message.strip().split("\n", 1)[0]
    text = _plain(f"{PREFIX} {report.type}: {first_line}".rstrip(": "))
    times = f" ({repeats.count} times)" if repeats is not None else ""
    tail = _plain(f"{times} {report.where}")[: SUBJECT_MAXIMUM // 2]
    return _one_space(text[: SUBJECT_MAXIMUM - len(tail)].rstrip() + tail)


def render_report(report: Report, envelope: Envelope, repeats: Repeats | None = None) -> bytes:
    """Return the message for one error, or for all its repeats in a window."""
    return _render(
        envelope,
        subject=report_subject(report, repeats),
        body=body_of(report, repeats),
        headers={
            "X-Request-ID": report.request_id,
            "X-Error-Fingerprint": report.fingerprint,
            "X-Error-Count": str(repeats.count if repeats else 1),
        },
    )


def render_summary(held: Iterable[Held], envelope: Envelope, cap: int) -> bytes:
    """Return the message that counts the errors which the hourly cap kept from a mail."""
    entries = sorted(held, key=lambda entry: entry.count, reverse=True)
    total = sum(entry.count for entry in entries)
    lines = [
        f"{entry.count:>7} x {entry.report.type}: {_first(entry.report.message)}"
        f" {entry.report.where}\n"
        f"          since {moment(entry.first)}, fingerprint {entry.report.fingerprint}"
        for entry in entries[:KINDS_MAXIMUM]
    ]
    if others := entries[KINDS_MAXIMUM:]:
        count = sum(entry.count for entry in others)
        lines.append(f"and {len(others)} more kinds with {count} errors")
    what = f"{total} errors of {len(entries)} kinds have no mail of their own"
    why = f"The limit of REPORT_MAILS_PER_HOUR={cap} is reached. All of them are in the log."
    return _render(
        envelope,
        subject=f"{PREFIX} {total} more errors of {len(entries)} kinds",
        body=Body(what, why, [Lines("Errors, the most frequent first", lines)]),
        headers={"X-Error-Count": str(total)},
    )


def _render(
    envelope: Envelope,
    *,
    subject: str,
    body: Body,
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
    message.set_content(mail_text.render(body), charset="utf-8", cte="8bit")
    message.add_alternative(mail_html.render(subject, body), "html", charset="utf-8", cte="8bit")
    return message.as_bytes()


def _plain(text: str) -> str:
    return NOT_IN_A_SUBJECT.sub("_", text.replace('"', "'").replace("`", "'"))


def _one_space(text: str) -> str:
    return re.sub(" {2,}", " ", text)


def _first(message: str) -> str:
    return message.strip().split("\n", 1)[0][:200]
