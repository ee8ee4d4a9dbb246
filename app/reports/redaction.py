"""Take secrets out of everything that leaves the process: by key, by value and by shape."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "********"

# Parts of words: Django's list and Sentry's.
SECRET_KEYS: Final = re.compile(
    "api[_-]?key|auth|token|secret|pass|pwd|signature|cookie|session|csrf|xsrf|credential|private"
    "|sid$|^key$|[_-]key$|^dsn$",
    re.IGNORECASE,
)

# Shorter values would turn a report into confetti: they are redacted by key only.
VALUE_MINIMUM: Final = 8

# Each looks at a bounded stretch from where it begins, or consumes what it has looked at: what
# visitors send turns up in errors, and must not make the search take minutes.
SHAPES: Final = (
    # PostgreSQL names the values that collide: Key (username)=(susan) already exists.
    (
        re.compile(
            r"(\bKey \([^\n]{1,300}?\)=)\((?:.{0,3000}?\)(?= already exists| is not present"
            r"| is still referenced| is duplicated| conflicts with)|[^\n]*)",
            re.DOTALL,
        ),
        rf"\1({MASK})",
    ),
    (
        re.compile(r"(\bFailing row contains )\((?:.{0,10000}?\)\.(?=\n|$)|[^\n]*)", re.DOTALL),
        rf"\1({MASK}).",
    ),
    # The user information of a URL: scheme://user:password@host
    (
        re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}):[^\s/]{1,500}@", re.IGNORECASE),
        rf"\1:{MASK}@",
    ),
    (re.compile(r"\b(Bearer|Basic)\s{1,9}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----.*?(-----END \1-----|\Z)", re.DOTALL),
        MASK,
    ),
)

# A field of a URL's query, as in a referrer.
QUERY_FIELD: Final = re.compile(r"([?&])([^=&?#\s]{1,80})=[^&#\s\"'<>]+")


class Redactor:
    """Knows the secrets of the settings and replaces them wherever they turn up."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in encodings(secret)}
        self._longest_first = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return ``text`` without the known secrets and without what has the shape of one."""
        for form in self._longest_first:
            text = text.replace(form, MASK)
        for shape, replacement in SHAPES:
            text = shape.sub(replacement, text)
        return QUERY_FIELD.sub(_mask_field, text)

    def bounded(self, text: str, maximum: int) -> str:
        """Return :meth:`text` of a text, or of the beginning and the end of a longer one.

        At a cut, as many characters are left out as a secret may have that it cuts in two.
        """
        if len(text) <= maximum:
            return self.text(text)
        half = maximum // 2
        margin = len(self._longest_first[0]) if self._longest_first else 0
        beginning = self.text(text[:half])
        end = self.text(text[-half:])[margin:]
        left_out = len(text) - 2 * half + 2 * margin
        kept = beginning[: len(beginning) - margin]
        return f"{kept}\n… {left_out} characters left out …\n{end}"

    def fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return named values, those with a secret's name masked, the others as :meth:`text`."""
        return {
            self.text(name): MASK if SECRET_KEYS.search(name) else self.text(value)
            for name, value in fields.items()
        }


def _mask_field(field: re.Match[str]) -> str:
    return f"{field[1]}{field[2]}={MASK}" if SECRET_KEYS.search(field[2]) else field[0]


def encodings(secret: str) -> set[str]:
    """Return the forms in which ``secret`` can turn up in a text; none for a short one.

    Raw, percent-encoded, in JSON, as a ``repr``, and in base64 at each of the three offsets
    that it can have inside a longer encoded text (RFC 4648).
    """
    if len(secret) < VALUE_MINIMUM:
        return set()
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {
        secret,
        quote(raw, safe=""),
        quote_plus(raw),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(raw)[2:-1],
    }
    for offset in range(3):
        # Whole groups only: the characters at either end depend on the neighbours.
        inner = raw[(3 - offset) % 3 :]
        inner = inner[: len(inner) - len(inner) % 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(inner).decode("ascii"))
    return {form for form in forms if len(form) >= VALUE_MINIMUM}
