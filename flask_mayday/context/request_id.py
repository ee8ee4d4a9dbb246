"""The request id that ties page, mail and log together, and the request that it belongs to."""

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
EXCEPTION_KEY: Final = "flask_mayday.exception"  # that the app has raised
REPORTED_KEY: Final = "flask_mayday.reported"  # the exception that was reported, or True
FORM: Final = re.compile(r"[0-9a-f]{32}")

_environ: ContextVar[Mapping[str, object] | None] = ContextVar("request_environ", default=None)


def begin(environ: WSGIEnvironment, *, trusted: bool) -> str:
    """Give the request of ``environ`` its id and make it the current one of this thread.

    The header is taken only from a trusted proxy and only in nginx's form of 32 hex digits:
    an id that a client chose could forge log lines or point at somebody else's request.
    It stays current until the thread's next request, for the server's access log comes after.
    """
    sent = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = sent if trusted and FORM.fullmatch(sent) else uuid.uuid4().hex
    environ[ENVIRON_KEY] = request_id
    environ[PATH_KEY] = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    _environ.set(environ)
    return request_id


def current() -> str | None:
    """Return the id of the request that this thread serves, if it serves one."""
    environ = _environ.get()
    return None if environ is None else str(environ[ENVIRON_KEY])


def current_environ() -> Mapping[str, object] | None:
    """Return the WSGI environment of the request that this thread serves, if it serves one."""
    return _environ.get()


def resume(environ: Mapping[str, object] | None) -> None:
    """Make the request of ``environ`` the current one of this thread, which works for it."""
    _environ.set(environ)


def forget() -> None:
    """Leave the current request, for a thread that goes on to other work."""
    _environ.set(None)
