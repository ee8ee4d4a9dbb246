"""The mails to administrators: a report, a digest of identical ones, a summary, a notice, a test.

Each function returns a whole message (RFC 5322) in bytes that any SMTP server takes: ASCII only,
with lines of at most 998 bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from ..report.report import Report
from ..report.wording import counted
from ..settings import AppSettings
from .content import (
    Content,
    Digest,
    HeldErrors,
    Lines,
    Rows,
    moment,
    report_content,
    summary_content,
)
from .encoding import POLICY, encode_body, from_header, subject_header
from .rendering import render_html, render_text
from .subject import one_line, report_subject

__all__ = [
    "Digest",
    "Envelope",
    "HeldErrors",
    "app_of",
    "render_notice",
    "render_report",
    "render_summary",
    "render_test",
    "report_subject",
    "summary_subject",
]

NO_APP: Final = AppSettings("app", "production", "", ())


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom, and about which app.

    ``message_id`` is the mail's own, ``thread`` that of the mail which it continues. ``created``
    is in seconds since the epoch.
    """

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    thread: str | None
    created: float
    app: AppSettings = NO_APP


def render_report(report: Report, envelope: Envelope, digest: Digest | None = None) -> bytes:
    """Return the mail about one error, or, with ``digest``, about many identical ones.

    The app, environment and release are those of the report, if it has them: several apps may
    share a spool.
    """
    app = app_of(report, envelope.app)
    return _render(
        replace(envelope, app=app),
        report_subject(report, app.label, digest.count if digest else None),
        report_content(report, app, digest),
        {
            "X-Request-ID": report.request_id,
            "X-Error-Fingerprint": report.fingerprint,
            "X-Error-Count": str(digest.count if digest else 1),
        },
    )


def render_summary(groups: Iterable[HeldErrors], envelope: Envelope, limit: int) -> bytes:
    """Return the mail that counts the errors which the hourly ``limit`` of mails held back."""
    ordered = sorted(groups, key=lambda group: group.count, reverse=True)
    total = sum(group.count for group in ordered)
    subject = summary_subject(ordered, envelope.app.label)
    return _render(
        envelope, subject, summary_content(ordered, limit), {"X-Error-Count": str(total)}
    )


def render_notice(
    envelope: Envelope,
    what: str,
    where: str,
    rows: Sequence[tuple[str, str]] = (),
    lines: Sequence[str] = (),
    *,
    count: int | None = None,
) -> bytes:
    """Return a mail about something that is not an error of the app.

    ``what`` is the subject and headline, ``where`` the line below it; ``rows`` are named values
    and ``lines`` is text to be shown as it is. ``count`` is how many errors it counts, if any.
    """
    sections = [Rows("", rows)] if rows else []
    content = Content(what, where, [*sections, *([Lines("", lines)] if lines else [])])
    headers = {} if count is None else {"X-Error-Count": str(count)}
    return _render(envelope, one_line(f"[{envelope.app.label}] {what}"), content, headers)


def render_test(envelope: Envelope) -> bytes:
    """Return the mail of ``flask reports test``: made like a report, in the same encodings."""
    app = envelope.app
    rows = [
        ("App", app.name),
        ("Environment", app.environment),
        ("Release", app.release),
        ("Recipients", ", ".join(envelope.recipients)),
        ("Time", moment(envelope.created or time.time())),
    ]
    return render_notice(
        envelope,
        "Test mail: error reports are reaching you",
        "Sent by “flask reports test”. Nothing is wrong.",
        [(name, value) for name, value in rows if value],
    )


def summary_subject(groups: Sequence[HeldErrors], label: str) -> str:
    """Return the subject of a summary."""
    total = sum(group.count for group in groups)
    kinds = counted(len(groups), "kind")
    return one_line(f"[{label}] {counted(total, 'more error')} of {kinds}")


def app_of(report: Report, app: AppSettings) -> AppSettings:
    """Return the settings of the app that a report is about; ``app`` where it names none."""
    if not report.app:
        return app
    return replace(app, name=report.app, environment=report.environment, release=report.release)


def _render(
    envelope: Envelope, subject: str, content: Content, headers: Mapping[str, str | None]
) -> bytes:
    message = EmailMessage(policy=POLICY)
    message["Subject"] = subject_header(subject)
    message["From"] = from_header(envelope.app.label, envelope.sender)
    message["To"] = ", ".join(envelope.recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(envelope.created, UTC))
    message["Message-ID"] = envelope.message_id
    if envelope.thread is not None:
        message["References"] = envelope.thread
        message["In-Reply-To"] = envelope.thread
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    for name, value in headers.items():
        if value is not None:
            message[name] = one_line(value)
    message["MIME-Version"] = "1.0"
    message.make_alternative()
    message.attach(_part("plain", render_text(content)))
    message.attach(_part("html", render_html(content, subject)))
    return message.as_bytes()


def _part(kind: str, text: str) -> EmailMessage:
    encoding, payload = encode_body(text)
    part = EmailMessage(policy=POLICY)
    part["Content-Type"] = f'text/{kind}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(payload)
    return part
