"""Take secrets out of everything that leaves the process: by key, by value and by shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final

from ..context import request_id
from .patterns import MASK, is_secret_name, mask_shapes
from .request import secrets_of
from .values import Secret, secrets

__all__ = ["MASK", "Redactor"]

DEPTH_MAXIMUM: Final = 20  # of nested fields
FIELDS_MAXIMUM: Final = 200  # in all
NAME_LENGTH: Final = 200  # characters of the name of one field
VALUE_LENGTH: Final = 2000  # and of its value
FIELDS_LENGTH: Final = 16_000  # characters of all of them
AROUND: Final = 4096  # characters that a secret may have: as much as a cookie

Fields = dict[str, object]


class Redactor:
    """Knows the secrets of the settings, and those of the request that a text is about.

    Where ``environ`` is not given it is that of the request that this thread serves.
    """

    def __init__(self, settings_secrets: Iterable[str]) -> None:
        found = [piece for value in settings_secrets for piece in secrets(value)]
        self._settings = tuple(sorted(found, key=lambda one: len(one.value), reverse=True))

    def text(self, text: str, environ: Mapping[str, object] | None = None) -> str:
        """Return ``text`` without known secrets and without what has the shape of one.

        Never raises: what could not be redacted is left out, with the reason in its place.
        """
        try:
            for secret in self._secrets(environ):
                text = secret.mask(text)
            return mask_shapes(text)
        except Exception as error:
            return _left_out(error)

    def source(self, text: str) -> str:
        """Return lines of source code without the secrets of the settings.

        A request's values are in no source; a visitor who sends ``raise`` as a cookie is not to
        mask it there.
        """
        try:
            for secret in self._settings:
                text = secret.mask(text)
        except Exception as error:
            return _left_out(error)
        return text

    def bounded(
        self,
        text: str,
        maximum: int,
        environ: Mapping[str, object] | None = None,
        missing: int = 0,
    ) -> str:
        """Return :meth:`text` of a text, or of the beginning and the end of a longer one.

        It is cut after it was redacted. Of one that is longer still, no more is shown than what is
        the same whether or not what lies behind the cut is looked at: half a secret is not.
        ``missing`` is how many characters are not in the text's middle already.
        """
        half = maximum // 2
        seen = half + AROUND
        if len(text) <= 2 * seen:
            redacted = self.text(text, environ)
            if not missing and len(redacted) <= maximum:
                return redacted
            beginning, end = redacted[:half], redacted[half:]
            missing += max(0, len(end) - half)
        else:
            begins = [self.text(text[:cut], environ) for cut in (half, seen)]
            ends = [self.text(text[-cut:], environ)[::-1] for cut in (half, seen)]
            beginning, end = _agreed(*begins), _agreed(*ends)[::-1]
            missing += len(text) - 2 * half
        return f"{beginning[:half]}\n… {missing} characters left out …\n{end[-half:]}"

    def fields(
        self, fields: Mapping[str, object], environ: Mapping[str, object] | None = None
    ) -> Fields:
        """Return named values, nested ones too, without secrets: by name, else as :meth:`text`."""
        return _Fields(self, environ).mapping(fields, 0)

    def _secrets(self, environ: Mapping[str, object] | None) -> tuple[Secret, ...]:
        environ = environ or request_id.current_environ()
        if environ is None:
            return self._settings
        return self._settings + secrets_of(environ)


def _agreed(one: str, other: str) -> str:
    """Return what both begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in pairs)


def _left_out(error: Exception) -> str:
    return f"(left out: {type(error).__name__} while it was redacted)"


class _Fields:
    """One walk through fields, which ends where a report has enough of them."""

    def __init__(self, redactor: Redactor, environ: Mapping[str, object] | None) -> None:
        self.redactor = redactor
        self.environ = environ
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
        redacted = self.redactor.bounded(text, maximum, self.environ)
        self.room -= len(redacted)
        return redacted
