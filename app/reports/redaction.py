"""Take secrets out of everything that leaves the process: by key, by value and by shape."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "********"

# Parts of words: Django's list and Sentry's, in lower case and without separators.
SECRET_KEYS: Final = re.compile(
    "api_?key|auth|token|secret|pass|pwd|signature|cookie|session|csrf|xsrf|credential|private"
    "|sid$|^key$|_key$|^dsn$",
    re.IGNORECASE,
)

# Shorter values would turn a report into confetti: they are redacted by key only.
VALUE_MINIMUM: Final = 8

SHAPES: Final = (
    # PostgreSQL names the values that collide: Key (username)=(susan) already exists.
    (re.compile(r"(DETAIL:\s+[^\n]*?\bKey \([^)\n]*\)=)\(.*?\)(?= |$|\n)"), r"\1(" + MASK + ")"),
    (re.compile(r"(DETAIL:\s+Failing row contains )\([^\n]*\)"), r"\1(" + MASK + ")"),
    # The user information of a URL: scheme://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE), rf"\1:{MASK}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(-----END \1-----|\Z)", re.DOTALL),
        MASK,
    ),
)


class Redactor:
    """Knows the secrets of the settings and replaces them wherever they turn up."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in encodings(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        pattern = "|".join(re.escape(form) for form in longest_first)
        self._values = re.compile(pattern) if pattern else None

    def text(self, text: str) -> str:
        """Return ``text`` without the known secrets and without what has the shape of one."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        for shape, replacement in SHAPES:
            text = shape.sub(replacement, text)
        return text

    def fields(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Return named values, those with a secret's name masked, the others as :meth:`text`."""
        return {
            self.text(name): MASK if SECRET_KEYS.search(name) else self.text(value)
            for name, value in fields.items()
        }


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
