"""Renders a message as a mail to administrators.

Each function returns a whole message (RFC 5322) in bytes that any SMTP server takes: ASCII only,
with lines of at most 998 bytes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from ..report.report import Report
from ..settings import AppSettings
from .content import Digest
from .draft import Draft, draft_notice, draft_report
from .encoding import POLICY, encode_body, from_header, subject_header
from .rendering import render_html, render_text
from .subject import one_line
from .times import moment

NO_APP: Final = AppSettings("app", "production", "", ())


@dataclass(frozen=True, slots=True)
class Envelope:
    """The sender and the recipients of a mail, and its place in a thread.

    ``message_id`` is the mail's own, ``thread`` that of the mail which it continues. ``created``
    is in seconds since the epoch.
    """

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    thread: str | None
    created: float
    app: AppSettings = NO_APP


def render(draft: Draft, envelope: Envelope) -> bytes:
    """Return a message as a mail."""
    message = EmailMessage(policy=POLICY)
    message["Subject"] = subject_header(draft.subject)
    message["From"] = from_header(draft.app.label, envelope.sender)
    message["To"] = ", ".join(envelope.recipients)
    message["Date"] = format_datetime(datetime.fromtimestamp(envelope.created, UTC))
    message["Message-ID"] = envelope.message_id
    if envelope.thread is not None:
        message["References"] = envelope.thread
        message["In-Reply-To"] = envelope.thread
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    for name, value in draft.headers.items():
        if value is not None:
            message[name] = one_line(value)
    message["MIME-Version"] = "1.0"
    message.make_alternative()
    message.attach(_part("plain", render_text(draft.content)))
    message.attach(_part("html", render_html(draft.content, draft.subject)))
    return message.as_bytes()


def render_report(report: Report, envelope: Envelope, digest: Digest | None = None) -> bytes:
    """Return the mail about one error, or, with ``digest``, about many identical ones."""
    return render(draft_report(report, envelope.app, digest), envelope)


def render_test(envelope: Envelope) -> bytes:
    """Return the mail of ``flask mayday reports test``."""
    rows = [
        ("Recipients", ", ".join(envelope.recipients)),
        ("Time", moment(envelope.created or time.time())),
    ]
    draft = draft_notice(
        envelope.app,
        "Test mail: error reports are reaching you",
        "Sent by “flask mayday reports test”. Nothing is wrong.",
        rows,
    )
    return render(draft, envelope)


def _part(kind: str, text: str) -> EmailMessage:
    encoding, payload = encode_body(text)
    part = EmailMessage(policy=POLICY)
    part["Content-Type"] = f'text/{kind}; charset="utf-8"'
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(payload)
    return part
