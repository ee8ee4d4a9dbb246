"""Finds secrets in a text by their names and by their shapes."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from .escapes import Span
from .names import SecretNames
from .notations import value_of_name
from .shapes import Finder, finders

# Hints are the words and prefixes that lead to names and shapes. A text may contain MIN_HINTS of
# them, or one per BYTES_PER_HINT bytes; only a text made to be slow contains more.
MIN_HINTS: Final = 2000
BYTES_PER_HINT: Final = 20
# The same for the secrets that are found, which take more time than hints.
MIN_FOUND: Final = 1000
BYTES_PER_FOUND: Final = 50


class TooManyMatchesError(Exception):
    """A text contains too many possible secrets to be redacted in reasonable time."""


@lru_cache(maxsize=8)
def pattern_search(extra_names: tuple[str, ...]) -> PatternSearch:
    """Return the cached search for the built-in names, ``extra_names`` and shapes."""
    return PatternSearch(SecretNames(extra_names))


class PatternSearch:
    """Finds secrets in texts by name and by shape; ``names`` decides which names are secrets."""

    def __init__(self, names: SecretNames) -> None:
        self.names = names
        found: dict[bytes, list[Finder]] = {
            hint.encode(): [value_of_name] for hint in names.hints()
        }
        for hint, shapes in finders().items():
            found[hint] = [*shapes, *found.get(hint, ())]
        self._finders = list(found.values())
        self._hints = BytesAhoCorasick(
            list(found), matchkind=MatchKind.LeftmostLongest, implementation=Implementation.DFA
        )

    def spans(self, data: bytes) -> list[Span]:
        """Return the spans of the secrets in ``data``, in order.

        Raises :exc:`TooManyMatchesError` if ``data`` was apparently made to be slow.
        """
        hints = self._hints.find_matches_as_indexes(data.lower())
        if len(hints) > MIN_HINTS + len(data) // BYTES_PER_HINT:
            raise TooManyMatchesError
        found: list[Span] = []
        most = MIN_FOUND + len(data) // BYTES_PER_FOUND
        position = 0
        for number, start, end in hints:
            if start < position:
                continue
            for find in self._finders[number]:
                span = find(data, start, end, self.names)
                if span is not None:
                    found.append(span)
                    position = span[1]
                    if len(found) > most:
                        raise TooManyMatchesError
                    break
        return [span for span in found if span[0] < span[1]]
