"""Masks secrets in everything that leaves the process: by value, by name and by shape."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Final, NamedTuple

from ..forks import reset_in_child
from .escapes import Span, decoded_layers
from .fields import Fields, redacted_fields
from .patterns import PatternSearch, pattern_search
from .request import search_for_secrets
from .values import SHORTEST_FORM, ValueSearch, value_spans

__all__ = ["CUT_CONTEXT", "MASK", "BoundRedactor", "Redactor"]

MASK: Final = "********"
MASK_BYTES: Final = MASK.encode()
CUT_CONTEXT: Final = 4096  # characters beyond a cut that are redacted with it: the longest secret
MAX_TEXT_BYTES: Final = 4 << 20  # of a text that is redacted
MAX_ADDED_SECRETS: Final = 2000
REMEMBERED_TEXTS: Final = 256
REMEMBERED_LENGTH: Final = 4000  # characters of a text that is remembered


class Examined(NamedTuple):
    """A text, its escapes decoded layer by layer, and the secrets in it except a request's own.

    ``masked`` is the text with those secrets masked.
    """

    layers: list[bytes]
    spans: list[Span]
    masked: str


class Examiner:
    """Finds the secrets that do not depend on a request: by the app's values, by name, by shape.

    The results for the last texts are cached, because errors repeat most of them: the traceback,
    the route, the client's headers. ``app_secrets`` is the search for the app's own.
    """

    def __init__(self, app_secrets: ValueSearch, patterns: PatternSearch) -> None:
        self.app_secrets = app_secrets
        self._patterns = patterns
        self.remembered = lru_cache(REMEMBERED_TEXTS)(self._examine)
        self.source = lru_cache(REMEMBERED_TEXTS)(self._source)

    def text(self, text: str) -> Examined:
        """Return the layers of a text and the secrets in it, without those of a request.

        Raises :exc:`TextTooLongError` or :exc:`.patterns.TooManyMatchesError`.
        """
        return (self._examine if len(text) > REMEMBERED_LENGTH else self.remembered)(text)

    def _examine(self, text: str) -> Examined:
        layers = decoded_layers(_encoded(text))
        spans = value_spans(layers, (self.app_secrets,)) + self._patterns.spans(layers[0])
        return Examined(layers, spans, _masked(text, layers[0], spans))

    def _source(self, text: str) -> str:
        try:
            layers = decoded_layers(_encoded(text))
            return _masked(text, layers[0], value_spans(layers, (self.app_secrets,)))
        except Exception as error:
            return _left_out(error)


class TextTooLongError(Exception):
    """A text is longer than :data:`MAX_TEXT_BYTES`."""


class Redactor:
    """Masks the secrets of an app; :meth:`bind` adds those of one request.

    ``secrets`` are values to mask wherever they appear; those of fewer than 8 characters are
    ignored. ``extra_names`` are names of secret fields in addition to the built-in ones. A
    redactor is thread-safe.
    """

    def __init__(self, secrets: Iterable[str], extra_names: Iterable[str] = ()) -> None:
        self._given = tuple(secrets)
        self._added: deque[str] = deque(maxlen=MAX_ADDED_SECRETS)
        self._lock = threading.Lock()
        self._examiner: Examiner | None = None
        self.patterns = pattern_search(tuple(extra_names))
        reset_in_child(self, Redactor._renew_lock)

    def add_secret(self, value: str) -> None:
        """Mask ``value`` from now on, in all threads and encodings.

        Values of fewer than 8 characters are ignored. Only the last 2,000 added values are kept.
        """
        with self._lock:
            if value not in self._added:
                self._added.append(value)
                self._examiner = None

    def bind(self, environ: Mapping[str, object] | None) -> BoundRedactor:
        """Return a redactor for one report or log record.

        ``environ`` is the WSGI environment of the request that the texts are about, or ``None``.
        The secrets that the request sent are masked, as far as the app has read them.
        """
        return BoundRedactor(self, environ)

    @property
    def examiner(self) -> Examiner:
        """The search for the secrets that do not depend on a request."""
        found = self._examiner
        if found is None:
            with self._lock:
                app_secrets = ValueSearch((*self._given, *self._added))
                app_secrets.prepare()
                found = self._examiner = Examiner(app_secrets, self.patterns)
        return found

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


class BoundRedactor:
    """Masks secrets in the texts of one report or log record; made by :meth:`Redactor.bind`."""

    def __init__(self, redactor: Redactor, environ: Mapping[str, object] | None) -> None:
        self._redactor = redactor
        self._environ = environ

    def text(self, text: str) -> str:
        """Return ``text`` with known secrets, and texts that look like secrets, masked.

        Never raises: a text that could not be redacted is left out, with the reason in its place.
        """
        try:
            return self._redacted(text)
        except Exception as error:
            return _left_out(error)

    @property
    def source(self) -> Callable[[str], str]:
        """The function that masks the secrets of the app in lines of source code.

        It is the same object as long as those secrets are the same. Request secrets are not masked
        in source code: no source contains them, and a visitor who sends ``raise`` as a cookie must
        not be able to hide that word.
        """
        return self._redactor.examiner.source

    def bounded(self, text: str, maximum: int, missing: int = 0) -> str:
        """Return ``text`` redacted and cut in its middle to about ``maximum`` characters.

        A text of moderate length is redacted first and cut afterwards. Of a longer one, the
        beginning and the end are redacted twice, with two cuts, and only what both agree on is
        kept: a secret that a cut splits never leaks. ``missing`` is the number of characters that
        the caller has already removed from the middle.
        """
        try:
            # True of most texts in most reports.
            if len(text) <= REMEMBERED_LENGTH and not missing and not self._request_secrets:
                masked = self._redactor.examiner.remembered(text).masked
                if len(masked) <= maximum // 2 * 2:
                    return masked
            return self._bounded(text, maximum // 2, missing)
        except Exception as error:
            return _left_out(error)

    def fields(self, fields: Mapping[str, object]) -> Fields:
        """Return ``fields``, nested ones too, masked by name and otherwise like :meth:`text`."""
        return redacted_fields(fields, self.bounded, self._redactor.patterns.names, MASK)

    def _redacted(self, text: str) -> str:
        layers, spans, masked = self._redactor.examiner.text(text)
        if not self._request_secrets or len(layers[0]) < SHORTEST_FORM:
            return masked
        found = value_spans(layers, (self._request_secrets,))
        return _masked(text, layers[0], spans + found) if found else masked

    def _bounded(self, text: str, half: int, missing: int) -> str:
        if not text and not missing:
            return text
        seen = half + CUT_CONTEXT
        if len(text) <= 2 * seen:
            redacted = self._redacted(text)
            if not missing and len(redacted) <= 2 * half:
                return redacted
            beginning, end = redacted[:half], redacted[half:]
            missing += max(0, len(end) - half)
        else:
            begins = [self._redacted(text[:cut]) for cut in (half, seen)]
            ends = [self._redacted(text[-cut:])[::-1] for cut in (half, seen)]
            beginning, end = _common_start(*begins), _common_start(*ends)[::-1]
            missing += len(text) - 2 * half
        return f"{beginning[:half]}\n… {missing} characters left out …\n{end[-half:]}"

    @cached_property
    def _request_secrets(self) -> ValueSearch:
        if self._environ is None:
            return EMPTY_SEARCH
        return search_for_secrets(self._environ, self._redactor.patterns.names)


EMPTY_SEARCH: Final = ValueSearch(())


def _encoded(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_TEXT_BYTES:
        raise TextTooLongError
    return data


def _masked(text: str, data: bytes, spans: list[Span]) -> str:
    if not spans:
        return text
    kept: list[bytes] = []
    position, masked_to = 0, -1
    for start, end in sorted(spans):
        while start < len(data) and data[start] & 0xC0 == 0x80:  # in the middle of a character
            start -= 1
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        if start > masked_to:
            kept += [data[position:start], MASK_BYTES]
        position = masked_to = max(masked_to, end)
    kept.append(data[position:])
    return b"".join(kept).decode("utf-8", "surrogatepass")


def _common_start(one: str, other: str) -> str:
    """Return the common prefix of both texts."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in pairs)


def _left_out(error: Exception) -> str:
    return f"(left out: it could not be redacted safely, {type(error).__name__})"
