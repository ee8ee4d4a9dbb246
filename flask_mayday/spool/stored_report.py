"""A report as it is stored in files and in the database."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..report.report import Report
from ..report.size_limit import MAX_REPORT_BYTES, limited_json

IDENTITY: Final = ("uuid", "time", "fingerprint", "request_id")


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """The fields that decide a report's error group, read without building the whole report."""

    type: str
    message: str
    logger: str
    where: str
    source: str
    release: str
    former: tuple[str, ...]

    @classmethod
    def from_dict(cls, known: Mapping[str, object]) -> ErrorFacts:
        """Return the facts in the JSON object of a report."""
        names = ("type", "message", "logger", "where")
        kind, message, logger, where = (str(known.get(name) or "") for name in names)
        request, former = known.get("request"), known.get("former")
        route = request.get("route") if isinstance(request, dict) else None
        return cls(
            type=kind,
            message=message,
            logger=logger,
            where=where,
            source=str(route or logger),
            release=str(known.get("release") or ""),
            former=tuple(map(str, former)) if isinstance(former, list) else (),
        )


Facts = Report | ErrorFacts


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as JSON (``body``), with the fields that are columns of the database.

    ``time`` is in seconds since the epoch. ``mailable`` is false if neither a mail server nor a
    webhook was set: the report is never mailed. ``facts`` decide its error group.
    """

    uuid: str
    time: float
    fingerprint: str
    request_id: str | None
    body: str
    mailable: bool
    facts: Facts = field(repr=False, compare=False)

    @classmethod
    def of(cls, report: Report, *, mailable: bool) -> StoredReport:
        """Return ``report`` as it is stored, cut to :data:`MAX_REPORT_BYTES` bytes."""
        body = limited_json(report)
        known = (report.uuid, report.time, report.fingerprint, report.request_id)
        return cls(*known, body, mailable, report)

    @classmethod
    def from_line(cls, line: bytes) -> StoredReport:
        """Return the report in a line of a file, as :meth:`to_line` wrote it.

        Raises :exc:`ValueError` for anything else.
        """
        try:
            wrapped = json.loads(line)
            body, mailable = wrapped["body"], bool(wrapped["mailable"])
            known = json.loads(body)
            uuid, time, fingerprint, request_id = map(known.get, IDENTITY)
            facts = ErrorFacts.from_dict(known)
            found = cls(uuid, time, fingerprint, request_id, body, mailable, facts)
            if not found._is_sound():  # written by another version, or damaged
                found = cls.of(Report.from_json(body), mailable=mailable)
                # Raises UnicodeEncodeError, a ValueError, for what the database cannot keep.
                f"{found.uuid}{found.fingerprint}{found.request_id}".encode()
            return found
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("This line is not a report.") from error

    def _is_sound(self) -> bool:
        """Return whether the database can keep the report as it is."""
        texts = (self.uuid, self.fingerprint, self.request_id or "", self.body)
        return (
            type(self.time) is float
            and math.isfinite(self.time)
            and len(self.body) <= MAX_REPORT_BYTES
            and all(type(text) is str and text.isascii() for text in texts)
        )

    def to_line(self) -> bytes:
        """Return the report as a line of a file; earlier versions can read it too."""
        # Not json.dumps of a dictionary, which takes twice as long.
        mailable = "true" if self.mailable else "false"
        return f'{{"mailable": {mailable}, "body": {json.dumps(self.body)}}}\n'.encode()


def readable_report(
    body: str, uuid: str, time: float, fingerprint: str, request_id: str | None
) -> Report:
    """Return the report in ``body``; if that is damaged, one made from the other columns."""
    try:
        return Report.from_json(body)
    except ValueError:
        message = "This report cannot be read: the spool's database is damaged"
        known = {"uuid": uuid, "time": time, "fingerprint": fingerprint, "message": message}
        return Report.from_json(json.dumps({**known, "request_id": request_id}))
