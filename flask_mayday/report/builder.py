"""Builds the reports of one app: a whole one for a new error, a short one for a repetition."""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..context.error_text import exact, message_of_error
from ..context.record_fields import (
    CONTEXT,
    REQUESTS,
    STACK,
    environ_of,
    error_of,
    message_of,
    request_id_of,
    requests_as_text,
)
from ..redaction.redactor import BoundRedactor, Redactor
from .breadcrumbs import earlier_lines
from .fingerprint import fingerprints, hash_of
from .own_code import OwnCode
from .report import Report
from .request import ROUTE, path_of, short_request, whole_request
from .size_limit import cut
from .traceback_data import RaisedException
from .traceback_reader import NAME_LENGTH, ExceptionReader, FrameReader
from .traceback_text import render_traceback
from .wording import result_or_reason

PYTHON: Final = platform.python_version()
MESSAGE_LENGTH: Final = 8000  # characters
WHERE_LENGTH: Final = 1000
TRACEBACK_LENGTH: Final = 64_000

# A generator that an app cannot seed. uuid.uuid4() makes a system call, for which it releases the
# interpreter's lock: in a busy process, another thread would run first.
_random = random.Random()  # noqa: S311 - a report's id is no secret
os.register_at_fork(after_in_child=_random.seed)


def _new_uuid() -> str:
    return f"{_random.getrandbits(128):032x}"


@dataclass(frozen=True)
class ReportBuilder:
    """Builds reports from log records, for one app. Create it once: it caches frames.

    ``redactor`` masks secrets, and ``own_code`` tells the app's frames from those of libraries.
    ``app``, ``environment``, ``release`` and ``node`` are copied into each report.
    """

    redactor: Redactor
    own_code: OwnCode
    app: str = ""
    environment: str = ""
    release: str = ""
    node: str = ""
    _frames: FrameReader = field(init=False, repr=False, compare=False)
    _host: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_frames", FrameReader(self.own_code))
        object.__setattr__(self, "_host", socket.gethostname())

    def build(self, record: logging.LogRecord) -> Report:
        """Return the report of a log record and of the request that it is about.

        Never raises: a part that cannot be made is replaced by the reason.
        """
        try:
            return self._whole(record)
        except Exception as failure:
            return self._bare(record, failure)

    def repeat(self, record: logging.LogRecord, whole: Report) -> Report:
        """Return a short report of a record whose error is identical to that of ``whole``.

        It has its own request and time and refers to ``whole`` for the rest. Never raises.
        """
        try:
            environ = environ_of(record)
            redactor = self.redactor.bind(environ)
            request = None if environ is None else short_request(environ, redactor)
            return replace(
                whole,
                uuid=_new_uuid(),
                time=record.created,
                where=redactor.bounded(_where(record, environ), WHERE_LENGTH),
                request_id=request_id_of(record),
                request=request,
                user=_user(request),
                traceback=(
                    f"The same as in report {whole.uuid}, of request {whole.request_id or '-'}."
                ),
                exceptions=(),
                stack="",
                requests=_requests(record, redactor),
                context=_context(record, redactor),
                earlier=[],
                like=whole.uuid,
            )
        except Exception as failure:
            return self._bare(record, failure)

    def _whole(self, record: logging.LogRecord) -> Report:
        error = error_of(record)
        environ = environ_of(record)
        redactor = self.redactor.bind(environ)
        exceptions = result_or_reason(lambda: self._exceptions(error, redactor), _as_exceptions)
        requests = _requests(record, redactor)
        stack = result_or_reason(lambda: _stack(record, error, redactor), str)
        message = redactor.bounded(_message(record, error), MESSAGE_LENGTH)
        request = None if environ is None else whole_request(environ, redactor)
        fingerprint, *former = result_or_reason(
            lambda: fingerprints(record, error, message, exceptions),
            lambda reason: (hash_of(reason),),
        )
        return Report(
            uuid=_new_uuid(),
            time=record.created,
            fingerprint=fingerprint,
            former=tuple(former),
            level=record.levelname[:NAME_LENGTH],
            logger=record.name[:NAME_LENGTH],
            type=_type_name(record, error),
            message=message,
            where=redactor.bounded(_where(record, environ), WHERE_LENGTH),
            place=_place(exceptions),
            request_id=request_id_of(record),
            request=request,
            traceback=result_or_reason(lambda: _as_text(exceptions, requests, stack), str),
            earlier=_earlier(environ, redactor),
            python=PYTHON,
            user=_user(request),
            stack=stack,
            exceptions=exceptions,
            requests=requests,
            context=_context(record, redactor),
            **self._origin(),
        )

    def _origin(self) -> dict[str, Any]:
        return {
            "host": self._host,
            "process": os.getpid(),
            "app": self.app,
            "environment": self.environment,
            "release": self.release,
            "node": self.node,
        }

    def _exceptions(
        self, error: BaseException | None, redactor: BoundRedactor
    ) -> tuple[RaisedException, ...]:
        if error is None:
            return ()

        def clean(text: str) -> str:
            return redactor.bounded(text, MESSAGE_LENGTH)

        return tuple(ExceptionReader(self._frames, clean, redactor.source).read(error))

    def _bare(self, record: logging.LogRecord, failure: Exception) -> Report:
        """Return a minimal report of a record, made without any code that could fail."""
        place = f"{Path(record.pathname).name}:{record.lineno}"
        known = {
            "uuid": _new_uuid(),
            "time": record.created,
            "fingerprint": hash_of(place),
            "type": "Error",
            "message": f"The report could not be made: {type(failure).__name__}",
            "where": f"logged at {place}",
            **self._origin(),
        }
        return Report.from_json(json.dumps(known))


def _as_exceptions(reason: str) -> tuple[RaisedException, ...]:
    return (RaisedException(reason),)


def _message(record: logging.LogRecord, error: BaseException | None) -> str:
    if error is not None:
        return message_of_error(error)
    return result_or_reason(lambda: exact(message_of(record)), str)


def _type_name(record: logging.LogRecord, error: BaseException | None) -> str:
    return (record.levelname.capitalize() if error is None else type(error).__name__)[:NAME_LENGTH]


def _where(record: logging.LogRecord, environ: Mapping[str, object] | None) -> str:
    """Return ``at <METHOD> <route>``, with the path if no route matched, or ``in <logger>``."""
    if environ is None:
        return f"in {record.name}"
    route = environ.get(ROUTE) or path_of(environ) or "/"
    return f"at {environ.get('REQUEST_METHOD', '-')} {route}"


def _place(exceptions: tuple[RaisedException, ...]) -> str:
    """Return the place of the app's last frame, or of the frame that raised if it has none."""
    frames = next((one.frames for one in reversed(exceptions) if one.depth == 0), ())
    own = [frame for frame in frames if frame.own]
    return (own or list(frames))[-1].place() if frames else ""


def _user(request: dict[str, object] | None) -> str:
    return "" if request is None else str(request.get("user", ""))


def _stack(record: logging.LogRecord, error: BaseException | None, redactor: BoundRedactor) -> str:
    """Return the stacks of threads that a record carries, and a traceback that is text already."""
    stacks = [record.stack_info, getattr(record, STACK, None)]
    if error is None and record.exc_text:
        stacks.insert(0, record.exc_text)
    text = "\n".join(str(stack) for stack in stacks if stack)
    return redactor.bounded(text, TRACEBACK_LENGTH)


def _requests(record: logging.LogRecord, redactor: BoundRedactor) -> tuple[dict[str, object], ...]:
    requests = getattr(record, REQUESTS, None) or ()
    return result_or_reason(
        lambda: tuple(redactor.fields(request) for request in requests),
        lambda reason: ({"path": reason},),
    )


def _context(record: logging.LogRecord, redactor: BoundRedactor) -> dict[str, object] | None:
    context = getattr(record, CONTEXT, None)
    if not context:
        return None

    def instead(reason: str) -> dict[str, object]:
        return {"context": reason}

    return result_or_reason(lambda: redactor.fields(context), instead)


def _as_text(
    exceptions: tuple[RaisedException, ...],
    requests: tuple[dict[str, object], ...],
    stack: str,
) -> str:
    parts = (render_traceback(exceptions), requests_as_text(requests), stack)
    return cut("\n".join(part for part in parts if part), TRACEBACK_LENGTH)


def _earlier(environ: Mapping[str, object] | None, redactor: BoundRedactor) -> list[str]:
    if environ is None:
        return []
    return result_or_reason(lambda: earlier_lines(environ, redactor), lambda reason: [reason])
