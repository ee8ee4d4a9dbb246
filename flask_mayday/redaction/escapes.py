"""Undoes the escapes of a text, so that one search finds a secret however it was encoded.

Percent-encoding, HTML entities and backslash escapes are decoded at any depth and in any
combination: a secret in JSON in a form needs no pattern of its own. Works on UTF-8 bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from html.entities import name2codepoint
from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 4  # different kinds of escapes, one inside another
MAX_REMEMBERED: Final = 5000
ESCAPE_SIGNS: Final = (b"%", b"\\", b"&")
ENTITIES: Final = ("quot", "apos", "lt", "gt", "amp")

# %25, &amp; and runs of backslashes come from escaping an escaped text again. The original number
# of backslashes is unknown, so backslashes that escape nothing are ignored.
_BACKSLASHED: Final = rb"""(?:
    u[dD][89abAB][0-9A-Fa-f]{2}\\++u[dD][c-fC-F][0-9A-Fa-f]{2}
    | u(?:[0-9A-Fa-f]{4}|\{[0-9A-Fa-f]{1,6}\}) | U[0-9A-Fa-f]{8} | x[0-9A-Fa-f]{2} | [0-7]{3}
    | [abfnrtv"'/`]
)"""
# Each alternative starts with a literal character, so that re can skip other positions.
ESCAPE: Final = re.compile(
    rb"(%(?:25)*(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
    rb"| &(?:amp;)*(?:\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|" + "|".join(ENTITIES).encode() + rb");"
    rb"| \\\\*+" + _BACKSLASHED + rb"| \\\\*+)",
    re.VERBOSE,
)
BACKSLASHED: Final = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))

Span = tuple[int, int]


class _Decoded(dict[bytes, bytes]):
    """The bytes that escapes stand for, each decoded once."""

    def __missing__(self, escape: bytes) -> bytes:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        self[escape] = decoded = _decode(escape)
        return decoded


DECODED: Final = _Decoded()


def decoded_layers(data: bytes) -> list[bytes]:
    """Return ``data``, then ``data`` with its escapes decoded once, twice, until none is left."""
    layers = [data]
    while len(layers) <= MAX_DEPTH and any(sign in data for sign in ESCAPE_SIGNS):
        data = b"".join(_decoded_parts(ESCAPE.split(data)))
        if data == layers[-1]:
            break
        layers.append(data)
    return layers


def spans_before_decoding(data: bytes, spans: list[Span]) -> list[Span]:
    """Return the spans of ``data`` that correspond to ``spans`` in the layer decoded from it.

    An escape that a span covers in part is included as a whole.
    """
    parts = ESCAPE.split(data)
    encoded = [0, *accumulate(map(len, parts))]
    decoded = [0, *accumulate(map(len, _decoded_parts(parts)))]
    found = []
    for start, end in spans:
        # Parts with an even index are literal, the others are escapes.
        first, last = bisect_right(decoded, start) - 1, bisect_left(decoded, end) - 1
        begin = encoded[first] + (0 if first % 2 else start - decoded[first])
        found.append(
            (begin, encoded[last + 1] if last % 2 else encoded[last] + end - decoded[last])
        )
    return found


def _decoded_parts(parts: list[bytes]) -> list[bytes]:
    """Return the result of ``ESCAPE.split`` with every second part, an escape, decoded."""
    decoded = parts.copy()
    decoded[1::2] = map(DECODED.__getitem__, parts[1::2])
    return decoded


def _decode(escape: bytes) -> bytes:
    """Return the bytes that one escape stands for."""
    if escape.startswith(b"%"):
        if escape[-5:-4] == b"u":
            return _character(int(escape[-4:], 16))
        return bytes.fromhex(escape[-2:].decode())
    if escape.startswith(b"&"):
        return _entity(escape[:-1].rpartition(b";")[2].lstrip(b"&").decode())
    body = escape.lstrip(b"\\")
    if not body:
        return b""
    if len(body) == 1:
        return bytes([BACKSLASHED.get(body[0], body[0])])
    if body[0] in b"01234567":
        return bytes([int(body, 8) & 255])
    if b"\\" in body:
        pair = bytes.fromhex(body[1:5].decode() + body[-4:].decode())
        return pair.decode("utf-16-be").encode()
    return _character(int(body[1:].strip(b"{}"), 16))


def _entity(name: str) -> bytes:
    if name.startswith("#"):
        digits = name[1:]
        return _character(int(digits[1:], 16) if digits[0] in "xX" else int(digits))
    return _character(39 if name == "apos" else name2codepoint[name])


def _character(code: int) -> bytes:
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else b"?"
