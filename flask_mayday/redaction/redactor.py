"""Take secrets out of everything that leaves the process: by key, by value and by shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import takewhile
from typing import Final

from .patterns import MASK, is_secret_name, mask_shapes
from .request import secrets_of
from .values import Secret, secrets

__all__ = ["MASK", "BoundRedactor", "Redactor"]

DEPTH_MAXIMUM: Final = 20  # of nested fields
FIELDS_MAXIMUM: Final = 200  # in all
NAME_LENGTH: Final = 200  # characters of the name of one field
VALUE_LENGTH: Final = 2000  # and of its value
FIELDS_LENGTH: Final = 16_000  # characters of all of them
AROUND: Final = 4096  # characters that a secret may have: as much as a cookie

Fields = dict[str, object]


class Redactor:
    """Masks the secrets of the settings; :meth:`bind` adds those of one request.

    ``settings_secrets`` are the secret values to mask wherever they appear.
    """

    def __init__(self, settings_secrets: Iterable[str]) -> None:
        found = [piece for value in settings_secrets for piece in secrets(value)]
        self.secrets = tuple(sorted(found, key=lambda one: len(one.value), reverse=True))

    def add_secret(self, value: str) -> None:
        """Mask ``value`` from now on."""
        found = {*self.secrets, *secrets(value)}
        self.secrets = tuple(sorted(found, key=lambda one: len(one.value), reverse=True))

    def bind(self, environ: Mapping[str, object] | None) -> BoundRedactor:
        """Return a redactor for one report or log record.

        ``environ`` is the WSGI environment of the request that the texts are about, or ``None``.
        Its secrets are those that the request has sent and the app has read by now.
        """
        return BoundRedactor(self, environ)


class BoundRedactor:
    """Masks secrets in the texts of one report or log record; made by :meth:`Redactor.bind`."""

    def __init__(self, redactor: Redactor, environ: Mapping[str, object] | None) -> None:
        self._settings = redactor.secrets
        self._environ = environ

    def text(self, text: str) -> str:
        """Return ``text`` with known secrets, and whatever looks like one, masked.

        Never raises: a text that could not be redacted is left out, with the reason in its place.
        """
        try:
            for secret in self._secrets:
                text = secret.mask(text)
            return mask_shapes(text)
        except Exception as error:
            return _left_out(error)

    def source(self, text: str) -> str:
        """Return lines of source code with the secrets of the settings masked.

        Request secrets are not masked in source code: no source contains them, and a visitor who
        sends ``raise`` as a cookie must not be able to hide that word.
        """
        try:
            for secret in self._settings:
                text = secret.mask(text)
        except Exception as error:
            return _left_out(error)
        return text

    def bounded(self, text: str, maximum: int, missing: int = 0) -> str:
        """Return ``text`` redacted and cut in its middle to about ``maximum`` characters.

        A text of moderate length is redacted first and cut afterwards. Of a longer one, the
        beginning and the end are redacted twice, with two cuts, and only what both agree on is
        kept: a secret that a cut splits never leaks. ``missing`` is the number of characters that
        the caller has already removed from the middle.
        """
        half = maximum // 2
        seen = half + AROUND
        if len(text) <= 2 * seen:
            redacted = self.text(text)
            if not missing and len(redacted) <= maximum:
                return redacted
            beginning, end = redacted[:half], redacted[half:]
            missing += max(0, len(end) - half)
        else:
            begins = [self.text(text[:cut]) for cut in (half, seen)]
            ends = [self.text(text[-cut:])[::-1] for cut in (half, seen)]
            beginning, end = _agreed(*begins), _agreed(*ends)[::-1]
            missing += len(text) - 2 * half
        return f"{beginning[:half]}\n… {missing} characters left out …\n{end[-half:]}"

    def fields(self, fields: Mapping[str, object]) -> Fields:
        """Return named values, nested ones too, masked by name, else like :meth:`text`."""
        return _Fields(self).mapping(fields, 0)

    @cached_property
    def _secrets(self) -> tuple[Secret, ...]:
        if self._environ is None:
            return self._settings
        return self._settings + secrets_of(self._environ)


def _agreed(one: str, other: str) -> str:
    """Return what both begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in pairs)


def _left_out(error: Exception) -> str:
    return f"(left out: {type(error).__name__} while it was redacted)"


class _Fields:
    """One walk through fields, which ends where a report has enough of them."""

    def __init__(self, redactor: BoundRedactor) -> None:
        self.redactor = redactor
        self.room = FIELDS_LENGTH
        self.count = 0

    def mapping(self, fields: Mapping[str, object], depth: int) -> Fields:
        found: Fields = {}
        for name, value in fields.items():
            if self.full():
                found["…"] = f"{len(fields) - len(found)} more left out"
                break
            self.count += 1
            name = str(name)
            shown = self.text(name, NAME_LENGTH)
            found[shown] = MASK if is_secret_name(name) else self.value(value, depth + 1)
        return found

    def value(self, value: object, depth: int) -> object:
        if depth > DEPTH_MAXIMUM:
            return "…"
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, list):
            found: list[object] = []
            for inner in value:
                if self.full():
                    found.append(f"… {len(value) - len(found)} more left out")
                    break
                self.count += 1
                found.append(self.value(inner, depth + 1))
            return found
        if value is None or isinstance(value, (bool, float)):
            return value
        return self.text(str(value), VALUE_LENGTH)

    def full(self) -> bool:
        return self.count >= FIELDS_MAXIMUM or self.room <= 0

    def text(self, text: str, maximum: int) -> str:
        redacted = self.redactor.bounded(text, maximum)
        self.room -= len(redacted)
        return redacted
