"""Find a secret by its value, in every encoding in which it can turn up in a text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from .encodings import Needle
from .patterns import MASK

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

PATIENCE: Final = 20_000  # tries to find a secret in a text where it seems to begin


class Secret:
    """One secret value, up to :data:`PIECE` characters of it.

    In every encoding that :mod:`.encoded` knows, and in base64 at each of the three offsets
    that it can have inside a longer encoded text (RFC 4648).
    """

    def __init__(self, value: str) -> None:
        self.value = value
        encoded = (Needle(form, base64=True) for form in dict.fromkeys(_base64(value)))
        self.needles = (Needle(value), *encoded)
        self.probes = tuple(dict.fromkeys(needle.probe for needle in self.needles))

    def mask(self, text: str) -> str:
        """Return ``text`` without the value. Raises :exc:`.encoded.TooAlikeError`."""
        if not any(probe in text for probe in self.probes):
            return text
        patience = [PATIENCE]
        spans = [span for needle in self.needles for span in needle.spans(text, patience)]
        kept, position = [], 0
        for start, end in sorted(spans):
            if start >= position:
                kept += [text[position:start], MASK]
            position = max(position, end)
        return "".join(kept) + text[position:]


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
