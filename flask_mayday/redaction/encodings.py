"""Find a text in another, however each of its characters is encoded there.

As it is, percent-encoded, escaped as JSON and ``repr`` do, as HTML, as WSGI's Latin-1, and those
one in another. Character by character, without a regular expression: to compile one for each
secret of a visitor took longer than all the rest of a report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Final

RUN: Final = re.compile("[A-Za-z0-9]+")
BACKSLASHES: Final = 64  # at most, in a row: one text may be quoted in another, and so on
NAMED_ESCAPES: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
NEIGHBOURS: Final = 4  # characters of base64 that hold the first and the last bits
BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]")
PADDING: Final = re.compile(r"(?:=|%3[dD]){0,2}")

Step = Callable[[str, int, str], Iterator[int]]


class TooAlikeError(Exception):
    """A text that looks so often like a secret that the search would take too long."""


class Needle:
    """What to find: ``text``, or with ``base64`` the middle of an encoded one."""

    def __init__(self, text: str, *, base64: bool = False) -> None:
        # Every encoding leaves letters and digits alone. Where the longest run of them is not
        # in a text, which is the rule, nothing else need be asked.
        longest = max(RUN.finditer(text), key=lambda run: len(run[0]), default=None)
        self.probe = longest[0] if longest else ""
        start, end = longest.span() if longest else (0, 0)
        self.before, self.after = text[:start][::-1], text[end:]
        self.base64 = base64
        self.first = _beginnings(text[0]) if text and not self.probe else None

    def spans(self, text: str, patience: list[int]) -> Iterator[tuple[int, int]]:
        """Yield where ``text`` holds it, from and to; ``patience`` counts down, in tries.

        Raises :exc:`TooAlikeError` when there is none left.
        """
        for found in self._probes(text):
            patience[0] -= 1
            if patience[0] < 0:
                raise TooAlikeError
            starts = _walk(text, {found}, self.before, _backward)
            ends = starts and _walk(text, {found + len(self.probe)}, self.after, _forward)
            if ends:
                yield self._whole(text, min(starts), max(ends))

    def _probes(self, text: str) -> Iterator[int]:
        if self.first is not None:
            yield from (match.start() for match in self.first.finditer(text))
            return
        found = text.find(self.probe)
        while found >= 0:
            yield found
            found = text.find(self.probe, found + 1)

    def _whole(self, text: str, start: int, end: int) -> tuple[int, int]:
        if not self.base64:
            return start, end
        for _ in range(NEIGHBOURS):
            start -= start > 0 and BASE64.match(text, start - 1) is not None
            end += BASE64.match(text, end) is not None
        padding = PADDING.match(text, end)
        return start, padding.end() if padding else end


def _walk(text: str, positions: set[int], characters: Iterable[str], step: Step) -> set[int]:
    """Return where the characters can lead to, one after the other, from ``positions``."""
    for character in characters:
        positions = {end for start in positions for end in step(text, start, character)}
        if not positions:
            break
    return positions


def _forward(text: str, start: int, character: str) -> Iterator[int]:
    forms = _forms(character)
    for form in forms.plain:
        if text.startswith(form, start):
            yield start + len(form)
    if not forms.escaped and character != "\\":
        return
    end = start
    while end < start + BACKSLASHES and text.startswith("\\", end):
        end += 1
    if character == "\\":
        yield from range(start + 1, end + 1)
    if end > start or text.endswith("\\", 0, start):
        for form in forms.escaped:
            if text.startswith(form, end):
                yield end + len(form)


def _backward(text: str, end: int, character: str) -> Iterator[int]:
    forms = _forms(character)
    for form in forms.plain:
        if text.endswith(form, 0, end):
            yield end - len(form)
    after = [end] if character == "\\" else []
    after += [end - len(form) for form in forms.escaped if text.endswith(form, 0, end)]
    for start in after:
        for backslashes in range(1, BACKSLASHES):
            if not text.endswith("\\", 0, start - backslashes + 1):
                break
            yield start - backslashes


@dataclass(frozen=True, slots=True)
class _Forms:
    """What a character can be written as: alone, and after at least one backslash."""

    plain: tuple[str, ...]
    escaped: tuple[str, ...]


@lru_cache(maxsize=2000)
def _forms(character: str) -> _Forms:
    if character.isascii() and character.isalnum():
        return _Forms((character,), ())
    code, raw = ord(character), character.encode("utf-8", "surrogatepass")
    utf16 = character.encode("utf-16-be", "surrogatepass")
    units = [utf16[n : n + 2].hex() for n in range(0, len(utf16), 2)]
    plain = [character, raw.decode("latin-1"), escape(character), f"&#{code};"]
    plain += ["".join(f"{sign}{byte:02X}" for byte in raw) for sign in ("%", "%25")]
    escaped = [f"x{code:02x}", f"U{code:08x}"]
    if character in NAMED_ESCAPES:
        escaped.append(NAMED_ESCAPES[character])
    elif character in "\"'/":
        escaped.append(character)
    if character == " ":
        plain.append("+")
    # Of several escapes in a row, each may have had its backslash doubled, and doubled again.
    for backslashes in ("\\", "\\\\", "\\" * 4):
        escaped.append(f"{backslashes}u".join(("", *units))[len(backslashes) :])
        escaped.append(f"{backslashes}x".join(("", *(f"{b:02x}" for b in raw)))[len(backslashes) :])
    return _Forms(_both_cases(plain), _both_cases(escaped))


def _both_cases(forms: list[str]) -> tuple[str, ...]:
    """Return the forms with hex digits in lower and in upper case, which both are in use."""
    lower = [f"%{form[1:].lower()}" if len(form) > 1 and form[0] == "%" else form for form in forms]
    upper = [
        re.sub(r"(?<=[xuU])[0-9a-f]+", lambda digits: digits[0].upper(), form) for form in forms
    ]
    return tuple(dict.fromkeys([*forms, *lower, *upper]))


def _beginnings(character: str) -> re.Pattern[str]:
    """Match wherever any form of a character can begin."""
    firsts = {form[0] for form in _forms(character).plain} | {"\\"}
    return re.compile("|".join(map(re.escape, sorted(firsts))))
