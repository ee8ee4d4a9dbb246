"""A report: one recorded error, redacted, as the spool keeps it in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from .traceback_data import RaisedException, compact_json, mappings, text_of

# Fields that are not texts.
NOT_TEXTS: Final = frozenset(
    {
        "time",
        "process",
        "request_id",
        "request",
        "earlier",
        "exceptions",
        "requests",
        "context",
        "former",
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """One error. Every field is redacted: all of them may be mailed.

    ``uuid`` identifies this report. If it has no traceback, ``like`` is the uuid of the report of
    an identical error that has it. ``time`` is in seconds since the epoch. ``where`` is
    ``at <METHOD> <route>`` or ``in <logger>``, ``place`` the app's last frame as
    ``file:line in function``. ``request`` is the request as :func:`.request.whole_request` returns
    it, and ``earlier`` the lines that it had logged before.

    ``exceptions`` holds what was raised, as data, and ``stack`` the stacks of threads, as text.
    ``traceback`` is both as one text. Earlier versions, which have no ``exceptions``, read and
    write only that, and share the spool with this one while containers are replaced.

    ``requests`` are those that a worker's death interrupted, each with ``request_id``, ``method``,
    ``path`` and ``state`` (see :mod:`..context.record_fields`). ``app``, ``environment`` and
    ``release`` are the settings of the app that failed, ``context`` the values that it passed to
    ``mayday.capture``, and ``user`` who made the request. ``former`` are the fingerprints that the
    error would have had by an earlier rule (see :mod:`.fingerprint`). ``node`` is the machine, if
    there are several.
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
    like: str = ""
    app: str = ""
    environment: str = ""
    release: str = ""
    user: str = ""
    stack: str = ""
    exceptions: tuple[RaisedException, ...] = ()
    requests: tuple[dict[str, object], ...] = ()
    context: dict[str, object] | None = None
    former: tuple[str, ...] = ()
    node: str = ""

    @property
    def source(self) -> str:
        """Where the error comes from, for the hourly cap of mails: its route, or its logger."""
        return str((self.request or {}).get("route") or self.logger)

    def to_json(self) -> str:
        """Return the report as the spool keeps it; empty fields are left out."""
        known = {
            name: value
            for name in self.__slots__
            if name != "exceptions" and (value := getattr(self, name))
        }
        if not self.exceptions:
            return compact_json(known)
        exceptions = ",".join(one.to_json() for one in self.exceptions)
        return f'{compact_json(known)[:-1]},"exceptions":[{exceptions}]}}'

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that :meth:`to_json` wrote, in this version or another.

        Versions share a spool while containers are replaced: fields that this one does not know
        are ignored, and missing ones are empty. Raises :exc:`ValueError` for text that is not a
        report.
        """
        try:
            known = json.loads(text)
            if not isinstance(known, dict):
                raise ValueError("A report is a JSON object.")
            return cls._from_dict(known)
        except (OverflowError, RecursionError) as error:
            raise ValueError("This report has too large a number, or too many levels.") from error

    @classmethod
    def _from_dict(cls, known: Mapping[str, object]) -> Report:
        texts = {name: text_of(known.get(name)) for name in cls.__slots__ if name not in NOT_TEXTS}
        request_id, request = known.get("request_id"), known.get("request")
        earlier, context = known.get("earlier"), known.get("context")
        former = known.get("former")
        return cls(
            **texts,
            time=_number(known.get("time")),
            process=int(_number(known.get("process"))),
            request_id=None if request_id is None else str(request_id),
            request=request if isinstance(request, dict) else None,
            earlier=[str(line) for line in earlier] if isinstance(earlier, list) else [],
            exceptions=tuple(map(RaisedException.from_dict, mappings(known.get("exceptions")))),
            requests=tuple(mappings(known.get("requests"))),
            context=context if isinstance(context, dict) else None,
            former=tuple(map(str, former)) if isinstance(former, list) else (),
        )

    def with_traceback_of(self, other: Report) -> Report:
        """Return this report with the traceback of ``other``, an identical error."""
        return replace(
            self, traceback=other.traceback, exceptions=other.exceptions, stack=other.stack
        )

    def interrupted(self, request_id: str) -> bool:
        """Return whether this is the report of a worker that died while serving that request."""
        return any(one.get("request_id") == request_id for one in self.requests) or (
            not self.requests and f"[request {request_id}]" in self.traceback
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0
