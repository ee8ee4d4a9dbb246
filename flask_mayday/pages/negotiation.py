"""Content negotiation of errors: an HTML page or a problem document."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

PROBLEM_JSON: Final = "application/problem+json"
JSON_TYPES: Final = ("application/json", PROBLEM_JSON)
MAX_CACHED_LENGTH: Final = 2000  # characters of a header


def prefers_json(accept: str) -> bool:
    """Return whether the header ``Accept: accept`` names JSON and gives it more weight than HTML.

    Browsers, which name HTML, and curl, which names nothing, get HTML; so do ties and ``*/*``.
    """
    return _prefers_json(accept) if len(accept) <= MAX_CACHED_LENGTH else _compute(accept)


def _compute(accept: str) -> bool:
    accepted = parse_accept_header(accept, MIMEAccept)
    json_quality = max(_qualities(accepted, *JSON_TYPES), default=0)
    # Werkzeug does not find text/html;charset=utf-8 when asked for text/html.
    html_quality = max(_qualities(accepted, "text/html"), default=accepted.quality("text/html"))
    return json_quality > html_quality


_prefers_json = lru_cache(maxsize=256)(_compute)


def _qualities(accepted: MIMEAccept, *media_types: str) -> list[float]:
    """Return the weights of those ``media_types`` that a header names, with any parameters."""
    return [
        quality
        for value, quality in accepted
        if value.partition(";")[0].strip().lower() in media_types
    ]
