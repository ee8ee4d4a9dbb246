"""The request in a report: what was requested and by whom. Nothing is read from the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from flask import globals as flask_globals

from ..context.request_id import PATH_KEY, USER_KEY
from ..context.trace_context import trace_of
from ..redaction.redactor import BoundRedactor
from ..redaction.request import parsed_body
from .wording import reason

# In the WSGI environment: the URL rule as Flask writes it, such as /user/<username>.
ROUTE: Final = "flask_mayday.route"

NOBODY: Final = "nobody"  # no user is logged in
UNKNOWN: Final = "unknown"  # the request is another thread's, whose session cannot be seen
TEXT_LENGTH: Final = 500  # characters
USER_LENGTH: Final = 200
ADDRESS_LENGTH: Final = 2000

Environ = Mapping[str, object]
Part = Callable[[Environ, BoundRedactor], object]


def whole_request(environ: Environ, redactor: BoundRedactor) -> dict[str, object]:
    """Return everything that is known of a request, redacted.

    That is what :func:`short_request` returns, and the address, query, headers and what the app
    has read of the body. A part that cannot be read is replaced by the reason.
    """
    return short_request(environ, redactor) | _parts(WHOLE, environ, redactor)


def short_request(environ: Environ, redactor: BoundRedactor) -> dict[str, object]:
    """Return method, path, route, client and user of a request, redacted."""
    found = _parts(SHORT, environ, redactor)
    if trace := trace_of(environ):
        found["trace"] = trace.trace_id
    return found


def _parts(
    parts: Mapping[str, Part], environ: Environ, redactor: BoundRedactor
) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, part in parts.items():
        try:
            found[name] = part(environ, redactor)
        except Exception as error:
            found[name] = reason(error)
    return found


def path_of(environ: Environ) -> str:
    """Return the path as text: WSGI passes its bytes as Latin-1 (PEP 3333)."""
    path = str(environ.get(PATH_KEY) or environ.get("PATH_INFO") or "")
    try:
        return path.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return path


def session_of(context: Any) -> Any:
    """Return the session of a request context, ``None`` if it is not open.

    ``flask.session`` is not used: it would make the response vary with the cookie.
    """
    if hasattr(context, "_session"):
        return context._session
    return getattr(context, "session", None)  # before Flask 3.1.3


def _text(name: str) -> Part:
    def part(environ: Environ, redactor: BoundRedactor) -> str:
        return redactor.bounded(str(environ.get(name) or ""), TEXT_LENGTH)

    return part


def _path(environ: Environ, redactor: BoundRedactor) -> str:
    return redactor.bounded(path_of(environ), ADDRESS_LENGTH)


def _address(environ: Environ, redactor: BoundRedactor) -> str:
    host = environ.get("HTTP_HOST")
    if not host:
        return ""
    address = f"{environ.get('wsgi.url_scheme', 'http')}://{host}{path_of(environ)}"
    return redactor.bounded(address, ADDRESS_LENGTH)


def _user(environ: Environ, redactor: BoundRedactor) -> str:
    """Return the user that the extension has stored, or else the one in the open session.

    The user is never loaded: that could query the database, whose failure may be the error.
    """
    stored = environ.get(USER_KEY)
    if stored is not None:
        return redactor.bounded(str(stored), USER_LENGTH)
    context: Any = flask_globals.request_ctx
    if not context or context.request.environ is not environ:
        return UNKNOWN
    session = session_of(context)
    if session is None:
        return UNKNOWN
    identifier = dict.get(session, "_user_id")
    return NOBODY if identifier is None else redactor.bounded(str(identifier), USER_LENGTH)


def _query(environ: Environ, redactor: BoundRedactor) -> object:
    query = str(environ.get("QUERY_STRING") or "")
    return redactor.fields(_collected(parse_qsl(query, keep_blank_values=True)))


@lru_cache(maxsize=256)
def _header_name(name: str) -> str:
    return name[5:].replace("_", "-").title()


def _headers(environ: Environ, redactor: BoundRedactor) -> object:
    names = sorted(name for name in environ if name.startswith("HTTP_"))
    return redactor.fields({_header_name(name): str(environ[name]) for name in names})


def _form(environ: Environ, redactor: BoundRedactor) -> object:
    form: Any = parsed_body(environ)[0]
    return None if form is None else redactor.fields(_collected(form.items(multi=True)))


def _json(environ: Environ, redactor: BoundRedactor) -> object:
    document = parsed_body(environ)[1]
    return None if document is None else redactor.fields({"": document})[""]


def _files(environ: Environ, redactor: BoundRedactor) -> object:
    request = environ.get("werkzeug.request")
    files: Any = None if request is None else vars(request).get("files")
    if not files:
        return None
    named = ((name, f"{one.filename} ({one.mimetype})") for name, one in files.items(multi=True))
    return redactor.fields(_collected(named))


def _collected(pairs: Any) -> dict[str, object]:
    """Return fields by name; the values of a repeated name are a list."""
    found: dict[str, list[object]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


SHORT: Final[dict[str, Part]] = {
    "method": _text("REQUEST_METHOD"),
    "path": _path,
    "route": _text(ROUTE),
    "client": _text("REMOTE_ADDR"),
    "user": _user,
}
WHOLE: Final[dict[str, Part]] = {
    "url": _address,
    "type": _text("CONTENT_TYPE"),
    "size": _text("CONTENT_LENGTH"),
    "query": _query,
    "form": _form,
    "json": _json,
    "files": _files,
    "headers": _headers,
}
