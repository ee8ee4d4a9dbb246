"""Finds secret values in a text, in all common encodings."""

from __future__ import annotations

import base64
import json
import math
import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from ..forks import reset_in_child
from .escapes import Span, decoded_layers, spans_before_decoding

# Shorter values are often ordinary words ("dev"), so they are masked by name only.
MIN_VALUE_LENGTH: Final = 8
SHORTEST_FORM: Final = MIN_VALUE_LENGTH // 2  # bytes; see ESCAPE_AT_END, which can shorten a value
# Characters of one value that are searched for: the limit of a cookie.
MAX_VALUE_LENGTH: Final = 4096
PIECE_LENGTH: Final = 128  # characters: a text may contain only a part of a long value

# Common words of reports that are never masked by value.
COMMON: Final = frozenset(
    {
        "accepted",
        "anonymous",
        "disabled",
        "exception",
        "localhost",
        "password",
        "postgresql",
        "required",
        "traceback",
        "undefined",
        "username",
    }
)

BASE64_NEIGHBOURS: Final = 4  # characters that contain the first and last bits of an encoded value
BASE64: Final = re.compile(rb"[a-z0-9/+_-]{0,%d}(?:=|%%3d){0,2}" % BASE64_NEIGHBOURS)
BASE64_SIGNS: Final = b"abcdefghijklmnopqrstuvwxyz0123456789/+_-"
URL_SAFE: Final = re.compile(rb"[A-Za-z0-9._~-]*")
ESCAPE_AT_END: Final = re.compile(rb"(?:\\+|%[0-9a-f]?|&[#\w]{0,8})\Z")
# Building an automaton costs, per byte of the patterns, as much as searching this many bytes of
# text for one pattern.
BUILD_COST: Final = 40


def folded(data: bytes) -> bytes:
    """Return ``data`` in lower case for comparison, because escapes use either case."""
    return data.lower()


class ValueSearch:
    """Searches texts for a fixed set of secret values, in time linear in the text.

    ``values`` are searched for in all encodings, ``plain_values`` not in base64 and hex.
    """

    def __init__(self, values: Iterable[str], plain_values: Iterable[str] = ()) -> None:
        found = {piece: False for value in plain_values for piece in pieces(value)}
        found |= {piece: True for value in values for piece in pieces(value)}
        # Sorted by length, the shortest last.
        self._waiting = sorted(found.items(), key=lambda item: len(item[0]), reverse=True)
        self._forms: dict[bytes, bool] = {}
        self._size = self._searched = 0
        self._automaton: _Automaton | None = None
        self._lock = threading.Lock()
        if self._waiting:
            reset_in_child(self, ValueSearch._renew_lock)

    def __bool__(self) -> bool:
        return bool(self._forms or self._waiting)

    def prepare(self, length: float = math.inf) -> None:
        """Prepare the search of texts of up to ``length`` bytes; by default, of any length.

        Values that are longer than the text are skipped: encoding makes a value longer, or, in
        base64, only a few characters shorter.
        """
        if not self._waiting and (length < math.inf or self._automaton is not None):
            return
        with self._lock:
            while self._waiting and len(self._waiting[-1][0]) <= length + BASE64_NEIGHBOURS:
                for form, binary in _forms(*self._waiting[-1]):
                    if form not in self._forms:
                        self._forms[form] = binary
                        self._size += len(form)
                # Removed last: a thread without the lock, or a forked child, may read the list now.
                self._waiting.pop()
            if length == math.inf and self._forms:
                self._automaton = _Automaton(self._forms)

    def spans(self, text: bytes) -> list[Span]:
        """Return the spans of the prepared values in a folded text, in any order."""
        if self._automaton is None:
            # For a single log line, building an automaton costs more than it saves.
            self._searched += len(text)
            if self._searched * len(self._forms) <= BUILD_COST * self._size:
                return _found_one_by_one(list(self._forms.items()), text)
            self.prepare()
        return self._automaton.spans(text) if self._automaton else []

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


class _Automaton:
    """Finds all forms of values in one pass (Aho and Corasick)."""

    def __init__(self, forms: dict[bytes, bool]) -> None:
        self._binary = list(forms.values())
        self._search = BytesAhoCorasick(
            list(forms),
            matchkind=MatchKind.LeftmostLongest,
            implementation=Implementation.NoncontiguousNFA,
        )

    def spans(self, text: bytes) -> list[Span]:
        return [
            _whole(text, start, end) if self._binary[number] else (start, end)
            for number, start, end in self._search.find_matches_as_indexes(text)
        ]


def _found_one_by_one(forms: list[tuple[bytes, bool]], text: bytes) -> list[Span]:
    found = []
    for form, binary in forms:
        start = text.find(form)
        while start >= 0:
            end = start + len(form)
            found.append(_whole(text, start, end) if binary else (start, end))
            start = text.find(form, end)
    return found


def value_spans(layers: list[bytes], searches: Iterable[ValueSearch]) -> list[Span]:
    """Return the spans of the values of ``searches`` in a text.

    ``layers`` is what :func:`.escapes.decoded_layers` returns for the text.
    """
    searches = [search for search in searches if search]
    if not searches:
        return []
    for search in searches:
        search.prepare(len(layers[0]))
    found: list[Span] = []
    for depth in range(len(layers) - 1, -1, -1):
        if found:
            found = spans_before_decoding(layers[depth], found)
        text = folded(layers[depth])
        found += [span for search in searches for span in search.spans(text)]
    return found


@lru_cache(maxsize=1000)
def pieces(value: str) -> tuple[str, ...]:
    """Return the pieces of ``value`` to search for, or none if it is too short.

    Long values and their lines are searched for in pieces: a text may contain only a part, and
    indentation, as in the traceback of an exception group, splits a value at its newlines.
    """
    value = value[:MAX_VALUE_LENGTH]
    found = [value] if len(value) <= PIECE_LENGTH else []
    if len(value) > PIECE_LENGTH or "\n" in value:
        for line in re.split(r"\r?\n", value):
            starts = range(0, len(line), PIECE_LENGTH)
            found += [line[start : start + PIECE_LENGTH] for start in starts]
    return tuple(
        piece
        for piece in dict.fromkeys(found)
        if len(piece) >= MIN_VALUE_LENGTH and piece.lower() not in COMMON and len(set(piece)) > 1
    )


@lru_cache(maxsize=1000)
def _forms(piece: str, encoded: bool) -> tuple[tuple[bytes, bool], ...]:
    """Return the forms of a piece, each with whether it is base64 or hexadecimal.

    Cached, because a visitor sends the same cookie with every request.
    """
    raw = piece.encode("utf-8", "surrogatepass")
    texts = [raw]
    if not piece.isascii():
        # WSGI passes the bytes of a header as Latin-1 (PEP 3333), and so does repr(bytes). What
        # repr() has already escaped stays unchanged.
        texts.append(raw.decode("latin-1").encode())
        texts.append(b"".join(map(_as_latin_1_if_printable, piece)))
    text_forms = {folded(layer) for text in texts for layer in decoded_layers(text)}
    # In the body of an HTML form, a plus stands for a space.
    text_forms |= {form.replace(b" ", b"+") for form in text_forms}
    # The text after a value can turn its last characters into an escape.
    text_forms |= {ESCAPE_AT_END.sub(b"", form) for form in text_forms}
    found = [(form, False) for form in text_forms if len(form) >= SHORTEST_FORM]
    return (*found, *((form, True) for form in _binary_forms(raw))) if encoded else tuple(found)


def _as_latin_1_if_printable(character: str) -> bytes:
    raw = character.encode("utf-8", "surrogatepass")
    return raw.decode("latin-1").encode() if character.isprintable() else raw


def _binary_forms(raw: bytes) -> set[bytes]:
    """Return a value in hexadecimal, and in base64 at each of its three offsets (RFC 4648)."""
    forms = {raw.hex().encode()}
    texts = {raw}
    if not URL_SAFE.fullmatch(raw):
        texts |= {
            quote(raw, safe="").encode(),
            json.dumps(raw.decode(errors="replace"))[1:-1].encode(),
        }
    for text in texts:
        for offset in range(3):
            # Whole groups only: the characters at both ends depend on the neighbouring bytes.
            inner = text[(3 - offset) % 3 :]
            encoded = base64.b64encode(inner[: len(inner) - len(inner) % 3])
            forms |= {encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")}
    return {folded(form) for form in forms if len(form) >= MIN_VALUE_LENGTH}


def _whole(text: bytes, start: int, end: int) -> Span:
    """Extend a match by the characters around it that contain bits of the value."""
    before = text[max(0, start - BASE64_NEIGHBOURS) : start]
    start -= len(before) - len(before.rstrip(BASE64_SIGNS))
    after = BASE64.match(text, end)
    return start, after.end() if after else end
