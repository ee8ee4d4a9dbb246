"""What a report tells of a request: from what has been read of it, and nothing is read for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from flask import globals as flask_globals

from ..redaction.redactor import BoundRedactor
from ..redaction.request import parsed_body

ROUTE = "flask_mayday.route"  # in the WSGI environment: the route, without what a visitor put in

Environ = Mapping[str, object]


def request_of(environ: Environ, redactor: BoundRedactor) -> dict[str, object]:
    """Return what was asked, by whom, with every secret masked.

    A part that cannot be told says why in its place; the others are told all the same.
    """
    parts: dict[str, Callable[[], object]] = {
        "url": lambda: _address(environ, redactor),
        "type": lambda: _text(environ, "CONTENT_TYPE", redactor),
        "size": lambda: _text(environ, "CONTENT_LENGTH", redactor),
        "query": lambda: redactor.fields(_query(environ)),
        "form": lambda: _form(environ, redactor),
        "json": lambda: _json(environ, redactor),
        "files": lambda: _files(environ, redactor),
        "headers": lambda: redactor.fields(_headers(environ)),
    }
    return request_in_short(environ, redactor) | {name: _told(part) for name, part in parts.items()}


def request_in_short(environ: Environ, redactor: BoundRedactor) -> dict[str, object]:
    """Return what was asked and by whom, without what was sent along; likewise masked."""
    parts: dict[str, Callable[[], object]] = {
        "method": lambda: _text(environ, "REQUEST_METHOD", redactor),
        "path": lambda: redactor.bounded(path_of(environ), 2000),
        "route": lambda: _text(environ, ROUTE, redactor),
        "client": lambda: _text(environ, "REMOTE_ADDR", redactor),
        "user": lambda: _user(environ, redactor),
    }
    return {name: _told(part) for name, part in parts.items()}


def path_of(environ: Environ) -> str:
    """Return the path as its characters: WSGI hands over its bytes as Latin-1 (PEP 3333)."""
    path = str(environ.get("PATH_INFO") or "")
    try:
        return path.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return path


def _told(part: Callable[[], object]) -> object:
    try:
        return part()
    except Exception as error:
        return f"could not be read ({type(error).__name__})"


def _text(environ: Environ, name: str, redactor: BoundRedactor) -> str:
    return redactor.bounded(str(environ.get(name) or ""), 500)


def _address(environ: Environ, redactor: BoundRedactor) -> str:
    host = environ.get("HTTP_HOST")
    if not host:
        return ""
    address = f"{environ.get('wsgi.url_scheme', 'http')}://{host}{path_of(environ)}"
    return redactor.bounded(address, 2000)


def _user(environ: Environ, redactor: BoundRedactor) -> str:
    """Return the user's id from the session that Flask has open for this request.

    Not the user: that is a query to the database, whose failure may be the error to report.
    """
    context: Any = flask_globals.request_ctx
    if not context or context.request.environ is not environ:
        return "unknown"
    # Not through flask.session, which would make the answer vary with the cookie.
    session = getattr(context, "_session", None)
    if session is None:
        return "unknown"
    identifier = dict.get(session, "_user_id")
    return "nobody" if identifier is None else redactor.bounded(str(identifier), 200)


def _query(environ: Environ) -> dict[str, object]:
    return _collected(parse_qsl(str(environ.get("QUERY_STRING") or ""), keep_blank_values=True))


def _headers(environ: Environ) -> dict[str, object]:
    return {
        name[5:].replace("_", "-").title(): str(value)
        for name, value in sorted(environ.items())
        if name.startswith("HTTP_")
    }


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
    named = {name: f"{file.filename} ({file.mimetype})" for name, file in files.items(multi=True)}
    return redactor.fields(named)


def _collected(pairs: Any) -> dict[str, object]:
    """Return fields by name; one that comes more than once is a list."""
    found: dict[str, list[object]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
