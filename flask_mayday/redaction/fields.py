"""Masks the fields of a request: a form, a query, headers, a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import Final

from ..context.record_fields import text_of
from .names import SecretNames

MAX_DEPTH: Final = 20  # of nested fields
MAX_FIELDS: Final = 200  # in all
MAX_NAME_LENGTH: Final = 200  # characters of one name
MAX_VALUE_LENGTH: Final = 2000  # characters of one value
MAX_LENGTH: Final = 16_000  # characters of all names and values
INTEGER_LIMIT: Final = 2**64  # larger ones become text: few readers of JSON keep them exact

Fields = dict[str, object]
Bounded = Callable[[str, int], str]


def redacted_fields(
    fields: Mapping[str, object], bounded: Bounded, names: SecretNames, mask: str
) -> Fields:
    """Return ``fields`` with secret values replaced by ``mask`` and others passed to ``bounded``.

    ``bounded`` redacts a text and cuts it to a number of characters. Fields beyond the limits of
    this module are left out, and their number is given instead.
    """
    return _Walk(bounded, names, mask).mapping(fields, 0)


class _Walk:
    """One walk through nested fields, which stops at the limits of this module."""

    def __init__(self, bounded: Bounded, names: SecretNames, mask: str) -> None:
        self.bounded = bounded
        self.names = names
        self.mask = mask
        self.length_left = MAX_LENGTH
        self.fields_left = MAX_FIELDS

    def mapping(self, fields: Mapping[str, object], depth: int) -> Fields:
        found: Fields = {}
        for name, value in fields.items():
            if self.full():
                found["…"] = f"{len(fields) - len(found)} more left out"
                break
            self.fields_left -= 1
            name = text_of(name)
            shown = self.text(name, MAX_NAME_LENGTH)
            found[shown] = self.mask if self.names.match(name) else self.value(value, depth + 1)
        return found

    def value(self, value: object, depth: int) -> object:
        try:
            return self.readable_value(value, depth)
        except Exception as error:  # of its own code, or another thread changes it meanwhile
            return f"<{type(value).__name__} that cannot be read: {type(error).__name__}>"

    def readable_value(self, value: object, depth: int) -> object:
        if depth > MAX_DEPTH:
            return "…"
        if type(value) is str:  # most are, and the check for a Mapping is slow
            return self.text(value, MAX_VALUE_LENGTH)
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self.items(value, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float) and isfinite(value):  # JSON has no infinity
            return value
        text = text_of(value)
        redacted = self.text(text, MAX_VALUE_LENGTH)
        if isinstance(value, int) and -INTEGER_LIMIT < value < INTEGER_LIMIT and redacted == text:
            return value
        return redacted

    def items(self, values: Collection[object], depth: int) -> list[object]:
        found: list[object] = []
        for value in values:
            if self.full():
                found.append(f"… {len(values) - len(found)} more left out")
                break
            self.fields_left -= 1
            found.append(self.value(value, depth + 1))
        return found

    def full(self) -> bool:
        return self.fields_left <= 0 or self.length_left <= 0

    def text(self, text: str, maximum: int) -> str:
        redacted = self.bounded(text, maximum)
        self.length_left -= len(redacted)
        return redacted
