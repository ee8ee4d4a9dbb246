"""A report: what happened, where, to which request. Made from a log record, kept as JSON."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from ..context.record_fields import STACK, environ_of, message_of, request_id_of, traceback_of
from ..redaction.redactor import BoundRedactor, Redactor
from .breadcrumbs import earlier_lines
from .fingerprint import fingerprint
from .request import ROUTE, path_of, request_in_short, request_of
from .traceback_text import NAME, Writer, exact, frames_of, said

SIZE_MAXIMUM: Final = 256 << 10  # bytes of a report in the spool
MESSAGE_MAXIMUM: Final = 8000  # characters
TRACEBACK_MAXIMUM: Final = 64_000  # characters
# Fields of a report that are no texts.
NO_TEXTS: Final = frozenset({"time", "process", "request_id", "request", "earlier"})
# What texts are cut to, in characters, until the report has its size.
CUTS: Final = (16_000, 4000, 1000, 250, 60)
# Made once: json.dumps makes an encoder for each call that wants no spaces.
TO_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Report:
    """One error, redacted. ``time`` is in seconds since the epoch, UTC.

    ``place`` is the app's last frame before it went wrong, ``earlier`` what the request had
    logged by then. Every field is what the mail says: nothing in it needs redaction any more.
    ``like`` is the ``uuid`` of an equal report that has the traceback, empty where this one has.
    """

    uuid: str
    time: float
    fingerprint: str
    level: str
    logger: str
    type: str
    message: str
    where: str
    place: str
    request_id: str | None
    request: dict[str, object] | None
    traceback: str
    earlier: list[str]
    host: str
    process: int
    python: str
    version: str
    like: str = ""

    def to_json(self) -> str:
        """Return the report as the spool keeps it."""
        return TO_JSON({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that :meth:`to_json` wrote, by this version or another.

        Fields that this version does not know are left out, missing ones are empty: versions
        share one spool while containers are replaced. Raises :exc:`ValueError` for what is no
        report.
        """
        known = json.loads(text)
        if not isinstance(known, dict):
            raise ValueError("A report is a JSON object.")
        texts = {name: str(known.get(name, "")) for name in cls.__slots__ if name not in NO_TEXTS}
        request_id, request = known.get("request_id"), known.get("request")
        earlier = known.get("earlier")
        return cls(
            **texts,
            time=_number(known.get("time")),
            process=int(_number(known.get("process"))),
            request_id=None if request_id is None else str(request_id),
            request=request if isinstance(request, dict) else None,
            earlier=[str(line) for line in earlier] if isinstance(earlier, list) else [],
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def from_record(record: logging.LogRecord, redactor: Redactor) -> Report:
    """Make the report of a log record and of the request that it is about.

    Never raises: a part that cannot be made says why in its place.
    """
    try:
        return _fitted(_whole(record, redactor))
    except Exception as failure:
        return _bare(record, failure)


def repeat(record: logging.LogRecord, whole: Report, redactor: Redactor) -> Report:
    """Make the report of a record that is equal to the one which ``whole`` tells of.

    It is told by its own request and time, for the rest it refers to ``whole``. Never raises.
    """
    try:
        environ = environ_of(record)
        bound = redactor.bind(environ)
        return replace(
            whole,
            uuid=uuid.uuid4().hex,
            time=record.created,
            where=bound.bounded(_where(record, environ), 1000),
            request_id=request_id_of(record),
            request=None if environ is None else request_in_short(environ, bound),
            traceback=f"The same as in report {whole.uuid}, of request {whole.request_id or '-'}.",
            earlier=[],
            like=whole.uuid,
        )
    except Exception as failure:
        return _bare(record, failure)


def _whole(record: logging.LogRecord, redactor: Redactor) -> Report:
    from .. import __version__  # not before the package has been imported

    error = record.exc_info[1] if record.exc_info else None
    environ = environ_of(record)
    bound = redactor.bind(environ)

    def clean(text: str) -> str:
        return bound.bounded(text, MESSAGE_MAXIMUM)

    message = clean(said(error) if error is not None else _told(lambda: exact(message_of(record))))
    return Report(
        uuid=uuid.uuid4().hex,
        time=record.created,
        fingerprint=_told(lambda: fingerprint(record, error, message)),
        level=record.levelname[:NAME],
        logger=record.name[:NAME],
        type=(record.levelname.capitalize() if error is None else type(error).__name__)[:NAME],
        message=message,
        where=bound.bounded(_where(record, environ), 1000),
        place=_told(lambda: _place(error)),
        request_id=request_id_of(record),
        request=None if environ is None else request_of(environ, bound),
        traceback=_told(lambda: _traceback(record, error, bound, clean)),
        earlier=[] if environ is None else _lines(environ, bound),
        host=socket.gethostname(),
        process=os.getpid(),
        python=sys.version.split()[0],
        version=__version__,
    )


def _bare(record: logging.LogRecord, failure: Exception) -> Report:
    """Return what can be said of a record that no report could be made of."""
    place = f"{Path(record.pathname).name}:{record.lineno}"
    known = {
        "uuid": uuid.uuid4().hex,
        "time": record.created,
        "fingerprint": hashlib.sha256(place.encode(errors="replace")).hexdigest()[:16],
        "type": "Error",
        "message": f"The report could not be made: {type(failure).__name__}",
        "where": f"logged at {place}",
        "host": socket.gethostname(),
        "process": os.getpid(),
    }
    return Report.from_json(json.dumps(known))


def _told(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as failure:
        return f"(left out: {type(failure).__name__} while the report was made)"


def _where(record: logging.LogRecord, environ: Mapping[str, object] | None) -> str:
    """Return ``at <METHOD> <route>`` for a request, ``in <logger>`` without one."""
    if environ is None:
        return f"in {record.name}"
    route = environ.get(ROUTE) or path_of(environ) or "/"
    return f"at {environ.get('REQUEST_METHOD', '-')} {route}"


def _place(error: BaseException | None) -> str:
    if error is None:
        return ""
    frames, _ = frames_of(error.__traceback__)
    own = [frame for frame in frames if frame.own]
    return (own or frames)[-1].place() if frames else ""


def _traceback(
    record: logging.LogRecord,
    error: BaseException | None,
    redactor: BoundRedactor,
    clean: Callable[[str], str],
) -> str:
    """Return the exceptions of a record, and its stacks, where it has any."""
    stacks = [record.stack_info, getattr(record, STACK, None)]
    if error is None and not any(stacks):
        stacks = [traceback_of(record)]
    blocks = [redactor.bounded(str(stack), TRACEBACK_MAXIMUM) for stack in stacks if stack]
    if error is not None:
        blocks.insert(0, Writer(clean, redactor.source).text(error))
    return _cut("\n".join(blocks), TRACEBACK_MAXIMUM)


def _lines(environ: Mapping[str, object], redactor: BoundRedactor) -> list[str]:
    try:
        return earlier_lines(environ, redactor)
    except Exception as failure:
        return [f"(left out: {type(failure).__name__} while the report was made)"]


def _fitted(report: Report) -> Report:
    """Return the report with its longest texts cut until the spool keeps it in its size.

    Only redacted texts are cut here: there is no secret left to cut in two.
    """
    for maximum in CUTS:
        if len(report.to_json()) <= SIZE_MAXIMUM:
            break
        report = replace(
            report,
            message=_cut(report.message, maximum),
            traceback=_cut(report.traceback, maximum),
            request=_shorter(report.request, maximum),
            earlier=_shorter(report.earlier, maximum),
        )
    return report


def _shorter(value: Told, maximum: int) -> Told:
    shorter: object = value
    if isinstance(value, str):
        shorter = _cut(value, maximum)
    elif isinstance(value, list):
        shorter = [_shorter(inner, maximum) for inner in value]
    elif isinstance(value, dict):
        shorter = {key: _shorter(inner, maximum) for key, inner in value.items()}
    return shorter  # type: ignore[return-value]


def _cut(text: str, maximum: int) -> str:
    if len(text) <= maximum:
        return text
    half = maximum // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
