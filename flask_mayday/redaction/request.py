"""Collects the secrets of a request: cookies, credentials, fields with secret names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from http.cookies import _unquote
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from .names import SecretNames
from .values import MAX_VALUE_LENGTH, MIN_VALUE_LENGTH, ValueSearch

CACHE: Final = "flask_mayday.secrets"  # in the WSGI environ: the parsed body and its search
MAX_VALUES: Final = 64  # of the headers, and of the body
MAX_CHARACTERS: Final = 32_000  # of all values of the headers, and of the body
MAX_ENCODED: Final = 4000  # characters of the values that are searched for in base64 and hex too
KEPT_SEARCHES: Final = 16  # of up to 1.2 MB each, if a visitor sends many characters to escape
MAX_KEPT: Final = 500  # characters of the headers whose search is kept
SPLIT_HEADERS: Final = ("HTTP_AUTHORIZATION", "HTTP_COOKIE")  # headers with several secrets
MAX_NODES: Final = 2000  # values of a JSON document that are examined
MAX_QUERY_LENGTH: Final = 100_000  # characters

Parsed = tuple[object, object]
# Authorization, Cookie, query, Referer, and then the other headers with secret names.
_Head = tuple[str, ...]


def search_for_secrets(environ: Mapping[str, object], names: SecretNames) -> ValueSearch:
    """Return the search for the secrets of a request, as far as the app has read it."""
    parsed = parsed_body(environ)
    known = environ.get(CACHE)
    if isinstance(known, tuple) and known[0][0] is parsed[0] and known[0][1] is parsed[1]:
        found: ValueSearch = known[1]
        return found
    head = _head_of(environ, names)
    body, plain_body = _first(_in_body(parsed, names))
    if body or plain_body or sum(map(len, head)) > MAX_KEPT:
        # A body can contain many secrets, which must not displace those of the headers.
        values, plain_values = _first(_in_head(head, names))
        found = ValueSearch((*values, *body), (*plain_values, *plain_body))
    else:
        found = _search_of_head(head, names)
    if isinstance(environ, dict):
        environ[CACHE] = (parsed, found)
    return found


@lru_cache(maxsize=KEPT_SEARCHES)
def _search_of_head(head: _Head, names: SecretNames) -> ValueSearch:
    """Return the search for the secrets of headers; a visitor sends them with every request."""
    return ValueSearch(*_first(_in_head(head, names)))


def parsed_body(environ: Mapping[str, object]) -> Parsed:
    """Return the form and the JSON document of a request, each None if Flask has not read it.

    Never reads the stream, which may be at its end or broken, or have a slow client.
    """
    request = environ.get("werkzeug.request")
    if request is None:
        return None, None
    state: dict[str, Any] = vars(request)
    # Flask keeps (document, document or None); before that, a pair of Ellipsis.
    document = state.get("_cached_json", (None, None))[0]
    return state.get("form"), None if document is Ellipsis else document


def _first(values: Iterator[str]) -> tuple[list[str], list[str]]:
    """Return the first values within the limits: those for all encodings, and the others."""
    encoded: dict[str, None] = {}
    plain: dict[str, None] = {}
    length = 0
    for value in (one for sent in values for one in _meanings(sent)):
        if len(value) < MIN_VALUE_LENGTH or value in encoded or value in plain:
            continue
        length += min(len(value), MAX_VALUE_LENGTH)
        if len(encoded) + len(plain) >= MAX_VALUES or length > MAX_CHARACTERS:
            break
        (encoded if length <= MAX_ENCODED else plain)[value] = None
    return list(encoded), list(plain)


def _meanings(value: str) -> Iterator[str]:
    """Return a value as sent, and as an app may decode it."""
    yield value
    if "%" in value:
        yield unquote(value)
    if not value.isascii():
        # WSGI passes the bytes of a header as Latin-1 (PEP 3333).
        with suppress(UnicodeError):
            yield value.encode("latin-1").decode("utf-8")


def _head_of(environ: Mapping[str, object], names: SecretNames) -> _Head:
    addresses = [str(environ.get(source) or "") for source in ("QUERY_STRING", "HTTP_REFERER")]
    return (
        str(environ.get("HTTP_AUTHORIZATION") or ""),
        str(environ.get("HTTP_COOKIE") or ""),
        *(address if "=" in address else "" for address in addresses),
        *(
            str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in SPLIT_HEADERS and names.match(name[5:])
        ),
    )


def _in_head(head: _Head, names: SecretNames) -> Iterator[str]:
    """Return the secret values of the headers, the most sensitive ones first."""
    authorization, cookie_header, query, referrer, *others = head
    if authorization:
        yield from _credentials(authorization)
    cookies = _cookies(cookie_header, names) if cookie_header else []
    yield from (value for is_login, value in cookies if is_login)
    yield from others
    for address in (query, referrer):
        if address:
            yield from _fields(address.partition("?")[2] if "?" in address else address, names)
    yield from (value for is_login, value in cookies if not is_login)


def _in_body(parsed: Parsed, names: SecretNames) -> Iterator[str]:
    form, document = parsed
    if form is not None:
        for name, values in form.lists():  # type: ignore[attr-defined]
            if names.match(name):
                yield from values
    if document is not None:
        yield from _secrets_in(document, names)


def _fields(query: str, names: SecretNames, depth: int = 3) -> Iterator[str]:
    """Return a query's secrets, and those of the addresses in it, as in ``next=/?token=…``."""
    for name, value in parse_qsl(query[:MAX_QUERY_LENGTH], keep_blank_values=True):
        if names.match(name):
            yield value
        elif depth and "?" in value:
            yield from _fields(value.partition("?")[2], names, depth - 1)


def _cookies(header: str, names: SecretNames) -> list[tuple[bool, str]]:
    """Return the values of cookies, each with whether it is that of a session or a login."""
    found = []
    for part in header.split(";"):
        name, _, value = part.partition("=")
        value = value.strip()
        is_login = "remember" in name.lower() or names.match(name.strip())
        found.append((is_login, value))
        if value.startswith('"'):
            found.append((is_login, _unquote(value)))
        # Also the parts of a signed value: the session's data, the time and the signature.
        pieces = value.split(".")
        found += [(is_login, piece) for piece in pieces if len(piece) >= 2 * MIN_VALUE_LENGTH]
    return found


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


def _secrets_in(document: object, names: SecretNames) -> Iterator[str]:
    """Return the values under secret names, at any depth."""
    waiting: list[tuple[object, bool]] = [(document, False)]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        value, secret = waiting.pop()
        if isinstance(value, dict):
            waiting += [(inner, secret or names.match(str(key))) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, secret) for inner in value]
        elif secret and value is not None:
            yield str(value)
