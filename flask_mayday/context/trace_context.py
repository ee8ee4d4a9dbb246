"""The W3C trace context of a request: which trace of other services it belongs to.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KEY: Final = "flask_mayday.trace"  # in the WSGI environment of a request
SENT: Final = "HTTP_TRACEPARENT"
TRACEPARENT: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """``trace_id`` is that of the caller, ``span_id`` that of this request, both in hex digits."""

    trace_id: str
    span_id: str
    flags: str

    def header(self) -> str:
        """Return the value of ``traceparent`` for a request to another service."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def begin(environ: WSGIEnvironment, *, trusted: bool) -> None:
    """Store in ``environ`` the trace that a request belongs to.

    ``traceparent`` is used only if ``trusted``, which means that a proxy sets or removes it. A
    value that the standard does not allow is ignored.
    """
    sent = environ.get(SENT)
    if not trusted or not sent:
        return
    found = TRACEPARENT.fullmatch(sent.strip())
    if found and (found["version"] != "00" or not found["more"]):
        environ[KEY] = TraceContext(found["trace"], secrets.token_hex(8), found["flags"])


def trace_of(environ: Mapping[str, object] | None) -> TraceContext | None:
    """Return the trace that a request belongs to, or ``None``."""
    found = None if environ is None else environ.get(KEY)
    return found if isinstance(found, TraceContext) else None
