"""The secrets that a request brought: cookies, credentials, fields with a secret's name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.cookies import _unquote
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from .patterns import is_secret_name
from .values import VALUE_MINIMUM, Secret, secrets

CACHE: Final = "flask_mayday.secrets"  # in the WSGI environment: what was read, the secrets in it
COUNT_MAXIMUM: Final = 64  # different secrets of a request's head, and of its body
PARTED: Final = ("HTTP_AUTHORIZATION", "HTTP_COOKIE")  # headers with several secrets
NODES_MAXIMUM: Final = 2000  # values of a JSON document that are looked at

Parsed = tuple[object, object]


def secrets_of(environ: Mapping[str, object]) -> tuple[Secret, ...]:
    """Return the secrets of a request, as far as it has been read by now."""
    parsed = parsed_body(environ)
    known = environ.get(CACHE)
    if isinstance(known, tuple) and known[0][0] is parsed[0] and known[0][1] is parsed[1]:
        found: tuple[Secret, ...] = known[1]
        return found
    # A body can hold any number of them: they are not to take the place of those of the head.
    values = _first(_in_head(environ)) | _first(_in_body(parsed))
    pieces = [piece for value in values for piece in secrets(value)]
    # The longest first: one may be a part of another.
    found = tuple(sorted(pieces, key=lambda secret: len(secret.value), reverse=True))
    if isinstance(environ, dict):
        environ[CACHE] = (parsed, found)
    return found


def parsed_body(environ: Mapping[str, object]) -> Parsed:
    """Return the form and the JSON document of a request where Flask has read them, else None.

    Never reads them: the stream may be at its end, or broken, and its client slow.
    """
    request = environ.get("werkzeug.request")
    if request is None:
        return None, None
    state: dict[str, Any] = vars(request)
    # Flask keeps (document, document or None); before that, a pair of Ellipsis.
    document = state.get("_cached_json", (None, None))[0]
    return state.get("form"), None if document is Ellipsis else document


def _first(values: Iterator[str]) -> dict[str, None]:
    meant = (one for value in values for one in _meanings(value) if len(one) >= VALUE_MINIMUM)
    return dict.fromkeys(islice(dict.fromkeys(meant), COUNT_MAXIMUM))


def _meanings(value: str) -> Iterator[str]:
    """Return a value as it came, and as who reads it may understand it."""
    yield value
    if "%" in value:
        yield unquote(value)
    if not value.isascii():
        # WSGI hands the bytes of a header over as Latin-1 (PEP 3333).
        with suppress(UnicodeError):
            yield value.encode("latin-1").decode("utf-8")


def _in_head(environ: Mapping[str, object]) -> Iterator[str]:
    """Return the secret values of the headers, those first that grant the most."""
    if authorization := environ.get("HTTP_AUTHORIZATION"):
        yield from _credentials(str(authorization))
    if cookie := environ.get("HTTP_COOKIE"):
        yield from _cookies(str(cookie))
    for name, value in environ.items():
        if name.startswith("HTTP_") and name not in PARTED and is_secret_name(name[5:]):
            yield str(value)
    for source in ("QUERY_STRING", "HTTP_REFERER"):
        query = str(environ.get(source) or "")
        if "=" in query:
            yield from _fields(query.partition("?")[2] if source == "HTTP_REFERER" else query)


def _in_body(parsed: Parsed) -> Iterator[str]:
    form, document = parsed
    if form is not None:
        for name, values in form.lists():  # type: ignore[attr-defined]
            if is_secret_name(name):
                yield from values
    if document is not None:
        yield from _secrets_in(document)


def _fields(query: str, depth: int = 3) -> Iterator[str]:
    """Return a query's secrets, and those of the addresses in it, as in ``next=/?token=…``."""
    for name, value in parse_qsl(query[:100_000], keep_blank_values=True):
        if is_secret_name(name):
            yield value
        elif depth and "?" in value:
            yield from _fields(value.partition("?")[2], depth - 1)


def _cookies(header: str) -> Iterator[str]:
    for part in header.split(";"):
        value = part.partition("=")[2].strip()
        yield value
        if value.startswith('"'):
            yield _unquote(value)
        # A signed value is its parts, too: the session's data, the time and the signature.
        yield from (piece for piece in value.split(".") if len(piece) >= 2 * VALUE_MINIMUM)


def _credentials(header: str) -> Iterator[str]:
    """Return the value of an Authorization header, and its parts (RFC 7617)."""
    yield header
    scheme, _, credentials = header.partition(" ")
    yield credentials.strip()
    if scheme.lower() != "basic":
        return
    try:
        decoded = base64.b64decode(credentials, validate=False)
    except (binascii.Error, ValueError):
        return
    text = decoded.decode("utf-8", "surrogateescape")
    yield text
    yield text.partition(":")[2]


def _secrets_in(document: object) -> Iterator[str]:
    """Return what stands under a secret's name, at any depth."""
    waiting: list[tuple[object, bool]] = [(document, False)]
    for _ in range(NODES_MAXIMUM):
        if not waiting:
            return
        value, secret = waiting.pop()
        if isinstance(value, dict):
            waiting += [(inner, secret or is_secret_name(str(key))) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, secret) for inner in value]
        elif secret and value is not None:
            yield str(value)
