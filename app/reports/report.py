"""A report: what happened, where, to which request. Made from a log record, kept as JSON."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl

from ..records import environ_of, message_of, request_id_of, traceback_of
from .redaction import Redactor

APP_FOLDER: Final = str(Path(__file__).resolve().parent.parent)
TEXT_MAXIMUM: Final = 100_000  # characters of a traceback or a message
NO_TEXTS: Final = frozenset({"time", "process", "request_id", "request"})  # fields of a report
TELLING: Final = 1000  # characters at a message's beginning by which equal errors are known

# Parts of a message that differ from one occurrence of the same error to the next.
VARYING: Final = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "<quoted>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b", re.I), "<hex>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.\w+"), "<address>"),
    (re.compile(r"\d+"), "<n>"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """One error, redacted. ``time`` is in seconds since the epoch, UTC."""

    uuid: str
    time: float
    fingerprint: str
    level: str
    logger: str
    type: str
    message: str
    where: str
    request_id: str | None
    request: dict[str, object] | None
    traceback: str
    host: str
    process: int
    python: str

    def to_json(self) -> str:
        """Return the report as the spool keeps it."""
        return json.dumps(asdict(self), ensure_ascii=True, separators=(",", ":"))

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
        return cls(
            **texts,
            time=_number(known.get("time")),
            process=int(_number(known.get("process"))),
            request_id=None if request_id is None else str(request_id),
            request=request if isinstance(request, dict) else None,
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def from_record(record: logging.LogRecord, redactor: Redactor) -> Report:
    """Make the report of a log record and of the request that this thread serves."""
    exception = record.exc_info[1] if record.exc_info else None
    message = _message(exception) if exception is not None else message_of(record)
    environ = environ_of(record)
    return Report(
        uuid=uuid.uuid4().hex,
        time=record.created,
        fingerprint=fingerprint(record, exception, message),
        level=record.levelname,
        logger=record.name,
        type=type(exception).__name__ if exception is not None else record.levelname.capitalize(),
        message=redactor.bounded(message, TEXT_MAXIMUM),
        where=redactor.text(_where(record, environ)),
        request_id=request_id_of(record),
        request=None if environ is None else _request(environ, redactor),
        traceback=redactor.bounded(traceback_of(record), TEXT_MAXIMUM),
        host=socket.gethostname(),
        process=os.getpid(),
        python=sys.version.split()[0],
    )


def fingerprint(record: logging.LogRecord, exception: BaseException | None, message: str) -> str:
    """Return what equal errors have in common, as 16 hex digits, on every host and release.

    The type, the app's own frames (file and function: line numbers move with every release)
    and the message with its varying parts masked. An exception may add a text of its own, its
    ``report_fingerprint``.
    """
    message = message[:TELLING]
    for pattern, replacement in VARYING:
        message = pattern.sub(replacement, message)
    parts = [message]
    if exception is None:
        parts += [record.name, record.levelname, f"{record.module}.{record.funcName}"]
    else:
        parts += [type(exception).__module__, type(exception).__qualname__]
        # Each once: how often a recursion went round depends on where it began.
        parts += dict.fromkeys(_app_frames(exception.__traceback__))
        parts.append(str(getattr(exception, "report_fingerprint", "")))
    joined = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(joined).hexdigest()[:16]


def _app_frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(APP_FOLDER):
            yield f"{code.co_filename[len(APP_FOLDER) :]}:{code.co_qualname}"
        trace = trace.tb_next


def _message(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:
        return f"<the exception has no text: its __str__ raised {type(error).__name__}>"


def _where(record: logging.LogRecord, environ: Mapping[str, object] | None) -> str:
    """Return ``at <METHOD> <route>`` for a request, ``in <logger>`` without one."""
    if environ is None:
        return f"in {record.name}"
    route = environ.get("microblog.route") or environ.get("PATH_INFO") or "/"
    return f"at {environ.get('REQUEST_METHOD', '-')} {route}"


def _request(environ: Mapping[str, object], redactor: Redactor) -> dict[str, object]:
    """Return what was asked, by whom, with every secret masked."""
    query = dict(parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True))
    headers = {
        name[5:].replace("_", "-").title(): str(value)
        for name, value in sorted(environ.items())
        if name.startswith("HTTP_")
    }
    return {
        "method": redactor.text(str(environ.get("REQUEST_METHOD", ""))),
        "path": redactor.text(str(environ.get("PATH_INFO", ""))),
        "query": redactor.fields(query),
        "client": str(environ.get("REMOTE_ADDR", "")),
        "headers": redactor.fields(headers),
    }
