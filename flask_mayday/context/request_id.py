"""The request id, which connects page, mail and log, and the current request of a thread."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HEADER: Final = "X-Request-ID"
# In the WSGI environment of a request:
ENVIRON_KEY: Final = "flask_mayday.request_id"
PATH_KEY: Final = "flask_mayday.path"  # as it was requested: middlewares of the app may change it
USER_KEY: Final = "flask_mayday.user_id"  # who was logged in, for the access line and the report
SESSION_USER_KEY: Final = "flask_mayday.session_user_id"  # who was logged in when it began
EXCEPTION_KEY: Final = "flask_mayday.exception"  # the exception that the app has raised
REPORTED_KEY: Final = "flask_mayday.reported"  # the exception that was reported, or True
CLAIM_KEY: Final = "flask_mayday.claim"  # who reports that the request has no proper answer
REQUEST_ID: Final = re.compile(r"[0-9a-f]{32}")

_environ: ContextVar[Mapping[str, object] | None] = ContextVar("request_environ", default=None)


def begin(environ: WSGIEnvironment, *, trusted: bool) -> str:
    """Give the request of ``environ`` an id, make it current in this thread, and return the id.

    ``X-Request-ID`` is used only if ``trusted``, which means that a proxy sets it, and only if it
    is 32 hex digits: an id that a client chose could forge log lines or name another request.
    The request stays current until the thread's next one, since the server writes its access log
    after the response.
    """
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = sent if trusted and REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    environ[ENVIRON_KEY] = request_id
    environ[PATH_KEY] = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    _environ.set(environ)
    return request_id


def claim(environ: WSGIEnvironment, reporter: str) -> bool:
    """Return whether ``reporter`` is the first to report why a request gets no proper answer.

    The watchdog and the thread that serves the request may both find that it took too long.
    """
    return bool(environ.setdefault(CLAIM_KEY, reporter) == reporter)


def current() -> str | None:
    """Return the id of the request that this thread works for, or ``None``."""
    environ = _environ.get()
    return None if environ is None else str(environ[ENVIRON_KEY])


def current_environ() -> Mapping[str, object] | None:
    """Return the WSGI environment of the request that this thread works for, or ``None``."""
    return _environ.get()


def resume(environ: Mapping[str, object] | None) -> None:
    """Make the request of ``environ``, which has its id, the current one of this thread."""
    _environ.set(environ)


def forget() -> None:
    """Record that this thread works for no request."""
    _environ.set(None)
