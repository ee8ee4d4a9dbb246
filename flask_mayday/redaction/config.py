"""Finds the secrets in an app's configuration and in the environment of its process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from .names import parts_of, words_in
from .values import MIN_VALUE_LENGTH

MAX_DEPTH: Final = 5  # of nested configuration values

# The last word in the name of a secret setting, so that WTF_CSRF_FIELD_NAME is not a secret.
SECRET_WORDS: Final = words_in(
    """
    password passwords passwd passphrase pass pwd pw token tokens secret secrets credential
    credentials salt dsn apikey fallbacks
    """
)
# A name that ends with "key" is secret if it has one of these words, or if the value looks random.
KEY_WORDS: Final = words_in(
    """
    secret api private access account auth encryption crypt hmac master shared signing signature
    service license fernet
    """
)
PUBLIC_KEY_WORDS: Final = frozenset({"public", "publishable", "site"})
# Names that end like those of secrets but are not.
NOT_SECRET_NAMES: Final = frozenset({"PWD", "OLDPWD", "SECURITY_TOKEN_AUTHENTICATION_KEY"})
RANDOM: Final = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])\S{16,}")
FILE: Final = re.compile(r"(?:\.{0,2}|~|[A-Za-z]:)[/\\][\w./\\ -]{1,300}\.\w{1,6}")
URL: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}://\S{1,4000}", re.IGNORECASE)
QUERY_PASSWORDS: Final = frozenset({"password", "sslpassword", "passwd", "pwd"})


def secrets_of_config(config: Mapping[str, object], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secret values of an app's ``config`` and of the process's ``environ``.

    These are values whose names say so (``SECRET_KEY``, ``SECRET_KEY_FALLBACKS``,
    ``MAIL_PASSWORD``, ``STRIPE_API_KEY``), nested ones too, and the passwords in URLs, which may
    also be SQLAlchemy URL objects. Values of fewer than 8 characters are left out, and so are
    settings that only name something secret (``SESSION_COOKIE_NAME``). Pass the result to
    :class:`~flask_mayday.redaction.redactor.Redactor`.
    """
    found: dict[str, None] = {}
    for settings in (config, environ):
        for name, value in settings.items():
            found.update(dict.fromkeys(_secrets(str(name), value, MAX_DEPTH)))
    return tuple(value for value in found if len(value) >= MIN_VALUE_LENGTH)


def _secrets(name: str, value: object, depth: int) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        if _is_secret(name, value):
            yield value
        yield from _passwords_of_urls(value)
    elif hasattr(value, "drivername"):  # sqlalchemy.URL, without an import of SQLAlchemy
        yield from _secrets_of_url_object(value)
    elif depth and isinstance(value, Mapping):
        for inner_name, inner in value.items():
            yield from _secrets(str(inner_name), inner, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _secrets(name, inner, depth - 1)


def _is_secret(name: str, value: str) -> bool:
    parts = parts_of(name)
    if not parts or name in NOT_SECRET_NAMES or FILE.fullmatch(value):
        return False
    if parts[-1] in SECRET_WORDS or parts[-1].endswith(("password", "token", "secret", "passwd")):
        return parts[-1] != "fallbacks" or parts[-2:-1] in (("key",), ("secret",))
    if parts[-1] in ("key", "keys"):
        qualifiers = frozenset(parts[:-1])
        if not PUBLIC_KEY_WORDS.isdisjoint(qualifiers):
            return False
        return not KEY_WORDS.isdisjoint(qualifiers) or RANDOM.fullmatch(value) is not None
    return False


def _passwords_of_urls(value: str) -> Iterator[str]:
    for found in URL.findall(value):
        # One text may be a list of URLs, or a URL whose password contains a separator.
        for url in dict.fromkeys((found, *found.split(","), *found.split(";"))):
            yield from _passwords_of_url(url)


def _passwords_of_url(url: str) -> Iterator[str]:
    rest = (url.partition("://")[2] or url).partition(":")[2]
    # A password may contain "@", and so may what follows it: libraries split at the first or at
    # the last one. Both texts are secrets.
    for password in dict.fromkeys((rest.partition("@")[0], rest.rpartition("@")[0])):
        if password and "@" in rest:
            yield password
            yield unquote(password)
    try:
        query = urlsplit(url).query
    except ValueError:
        return
    yield from _query_passwords(parse_qsl(query))


def _secrets_of_url_object(url: object) -> Iterator[str]:
    password = getattr(url, "password", None)
    if password:
        yield str(password)
    query = getattr(url, "query", None)
    if isinstance(query, Mapping):
        yield from _query_passwords(query.items())


def _query_passwords(pairs: Iterable[tuple[object, object]]) -> Iterator[str]:
    for name, value in pairs:
        if str(name).lower() in QUERY_PASSWORDS:
            yield from map(str, value) if isinstance(value, (list, tuple)) else [str(value)]
