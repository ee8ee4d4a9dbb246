"""A message before it is rendered: subject, content and headers, for mail and webhook alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..report.report import Report
from ..report.wording import counted
from ..settings import AppSettings
from ..spool.error_group import ErrorGroup
from .content import (
    Content,
    Digest,
    HeldErrors,
    Lines,
    Rows,
    Section,
    app_rows,
    report_content,
    summary_content,
)
from .rendering import render_text
from .subject import one_line, report_subject

TEXT_LENGTH: Final = 16_000  # characters of a message to the webhook


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message says, about which app.

    ``count`` is how many errors it reports or counts. ``headers`` are additional headers of the
    mail.
    """

    app: AppSettings
    subject: str
    content: Content
    count: int = 0
    headers: Mapping[str, str | None] = field(default_factory=dict)

    def to_post(self, key: str, kind: str, created: float) -> dict[str, object]:
        """Return the message for the webhook, as JSON; ``key`` is the same at each retry."""
        return {
            "id": key,
            "kind": kind,
            "time": created,
            "app": self.app.name,
            "environment": self.app.environment,
            "release": self.app.release,
            "node": self.app.node,
            "subject": self.subject,
            "where": self.content.where,
            "count": self.count,
            "fingerprint": self.headers.get("X-Error-Fingerprint"),
            "request_id": self.headers.get("X-Request-ID"),
            "text": render_text(self.content)[:TEXT_LENGTH],
        }


def draft_report(
    report: Report,
    app: AppSettings,
    digest: Digest | None = None,
    group: ErrorGroup | None = None,
    *,
    is_back: bool = False,
) -> Draft:
    """Return the message about one error, or, with ``digest``, about many identical ones.

    ``is_back`` says that it is the first one since the error of ``group`` came back. The app,
    environment and release are those of the report, if it has them: several apps may share a
    spool.
    """
    app = app_of(report, app)
    count = digest.count if digest else None
    return Draft(
        app,
        report_subject(report, app.label, count, is_back=is_back),
        report_content(report, app, digest, group, is_back=is_back),
        count or 1,
        {
            "X-Request-ID": report.request_id,
            "X-Error-Fingerprint": report.fingerprint,
            "X-Error-Count": str(count or 1),
        },
    )


def draft_summary(groups: Iterable[HeldErrors], app: AppSettings, limit: int) -> Draft:
    """Return the message that counts the errors which the hourly cap, ``limit``, held back."""
    ordered = sorted(groups, key=lambda group: group.count, reverse=True)
    total = sum(group.count for group in ordered)
    kinds = counted(len(ordered), "kind")
    return Draft(
        app,
        one_line(f"[{app.label}] {counted(total, 'more error')} of {kinds}"),
        summary_content(ordered, limit, app),
        total,
        {"X-Error-Count": str(total)},
    )


def draft_notice(
    app: AppSettings,
    what: str,
    where: str,
    rows: Sequence[tuple[str, str]] = (),
    lines: Sequence[str] = (),
    *,
    count: int | None = None,
) -> Draft:
    """Return a message about something that is not an error of the app.

    ``what`` is the subject and headline, ``where`` the line below it; ``rows`` are named values
    and ``lines`` is text to be shown as it is. ``count`` is how many errors it counts, if any.
    """
    sections: list[Section] = [Rows("", rows)] if rows else []
    if lines:
        sections.append(Lines("", lines))
    content = Content(what, where, [*sections, Rows("Origin", app_rows(app))])
    headers = {} if count is None else {"X-Error-Count": str(count)}
    return Draft(app, one_line(f"[{app.label}] {what}"), content, count or 0, headers)


def with_rows(draft: Draft, title: str, rows: Sequence[tuple[str, str]]) -> Draft:
    """Return a message with named values before everything else."""
    content = replace(draft.content, sections=[Rows(title, rows), *draft.content.sections])
    return replace(draft, content=content)


def app_of(report: Report, app: AppSettings) -> AppSettings:
    """Return the settings of the app that a report is about; ``app`` if it names none."""
    if not report.app:
        return app
    return replace(app, name=report.app, environment=report.environment, release=report.release)
