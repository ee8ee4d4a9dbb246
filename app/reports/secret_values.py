"""Find a secret by its value, in every encoding in which it can turn up in a text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from html import escape
from typing import Final

from .secret_shapes import MASK

# Shorter values would turn a report into confetti: they are redacted by key only.
VALUE_MINIMUM: Final = 8
VALUE_MAXIMUM: Final = 4096  # characters of one secret that are looked for: a cookie's limit
PIECE: Final = 128  # characters that are looked for as one: half a secret is one, too

# Values that a visitor may have under a secret's name, and every report in its own text.
COMMON: Final = frozenset(
    {
        "accepted",
        "anonymous",
        "disabled",
        "exception",
        "localhost",
        "microblog",
        "password",
        "postgresql",
        "required",
        "traceback",
        "undefined",
        "username",
    }
)

RUN: Final = re.compile("[A-Za-z0-9]+")
BASE64_NEIGHBOURS: Final = "[A-Za-z0-9+/_-]{0,4}"  # they hold the secret's first and last bits
NAMED_ESCAPES: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Secret:
    """One secret value, up to :data:`PIECE` characters of it.

    Raw, percent-encoded, in JSON, as a ``repr``, as HTML, as WSGI's Latin-1, and in base64 at
    each of the three offsets that it can have inside a longer encoded text (RFC 4648).
    """

    def __init__(self, value: str) -> None:
        self.value = value
        self.encoded = tuple(_base64(value))
        # Every encoding leaves letters and digits alone. Where the longest run of them is not
        # in a text, which is the rule, nothing else need be asked.
        runs = [max(RUN.findall(form), key=len, default="") for form in (value, *self.encoded)]
        self.probes = tuple(dict.fromkeys(runs))

    @cached_property
    def span(self) -> int:
        """The most characters that the value can take up."""
        return len(self.value) * (6 if self.value.isascii() else 12)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Match the value in every encoding."""
        forms = ["".join(map(_any_form, self.value))]
        for form in self.encoded:
            inner = "".join(map(_any_form, form))
            forms.append(f"{BASE64_NEIGHBOURS}{inner}{BASE64_NEIGHBOURS}(?:=|%3[dD]){{0,2}}")
        return re.compile("|".join(forms))

    def mask(self, text: str) -> str:
        """Return ``text`` without the value."""
        for probe in self.probes:
            if probe in text:
                return self.pattern.sub(MASK, text)
        return text


@lru_cache(maxsize=1000)
def secrets(value: str) -> tuple[Secret, ...]:
    """Return what to look for, so that nothing is left of ``value``; nothing if it is short.

    Cached: the same visitor comes with the same cookie.
    """
    value = value[:VALUE_MAXIMUM]
    # A long value, and each line of one, is looked for in pieces: a text may hold a part of it,
    # and what indents lines, as a group of exceptions does, tears it.
    pieces = [value] if len(value) <= PIECE else []
    if len(value) > PIECE or "\n" in value:
        for line in re.split(r"\r?\n", value):
            pieces += [line[start : start + PIECE] for start in range(0, len(line), PIECE)]
    return tuple(
        Secret(piece)
        for piece in dict.fromkeys(pieces)
        if len(piece) >= VALUE_MINIMUM and piece.lower() not in COMMON and len(set(piece)) > 1
    )


def _base64(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):
        # Whole groups only: the characters at either end depend on the neighbours.
        inner = raw[(3 - offset) % 3 :]
        inner = inner[: len(inner) - len(inner) % 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(inner).decode("ascii")
            if len(form) >= VALUE_MINIMUM:
                yield form


@lru_cache(maxsize=2000)
def _any_form(character: str) -> str:
    """Return a pattern of all that a character can be written as."""
    if character.isascii() and character.isalnum():
        return character
    raw = character.encode("utf-8", "surrogatepass")
    percent = "".join(f"%(?:25)?{byte:02x}" for byte in raw)
    escaped = "".join(rf"\\+x{byte:02x}" for byte in raw)
    forms = [re.escape(character), f"(?i:{percent}|{escaped})"]
    if not character.isascii():
        forms.append(re.escape(raw.decode("latin-1")))
    utf16 = character.encode("utf-16-be", "surrogatepass")
    units = "".join(rf"\\+u{utf16[n : n + 2].hex()}" for n in range(0, len(utf16), 2))
    code = ord(character)
    forms.append(rf"(?i:{units}|\\+x{code:02x}|\\+U{code:08x})")
    if character in NAMED_ESCAPES:
        forms.append(rf"\\+{NAMED_ESCAPES[character]}")
    if character == "\\":
        forms = [r"\\+", *forms[1:]]
    elif character in "\"'/":
        forms.append(rf"\\+{character}")
    if character == " ":
        forms.append(r"\+")
    if (entity := escape(character)) != character:
        forms.append(entity)
        forms.append(f"&#{code};")
    return f"(?:{'|'.join(forms)})"
