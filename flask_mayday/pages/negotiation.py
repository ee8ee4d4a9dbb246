"""Which form of an error a client asks for: a page or a problem document."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

PROBLEM_JSON: Final = "application/problem+json"
JSON_TYPES: Final = ("application/json", PROBLEM_JSON)
ACCEPT_MAXIMUM: Final = 2000  # characters of a header that is worth remembering


def prefers_json(accept: str) -> bool:
    """Return whether a client that sends ``Accept: accept`` names JSON and weighs it above HTML.

    A browser names HTML, curl names nothing, and both get HTML; so do ties and ``*/*``.
    """
    return _prefers_json(accept) if len(accept) <= ACCEPT_MAXIMUM else _weighs_json_higher(accept)


def _weighs_json_higher(accept: str) -> bool:
    accepted = parse_accept_header(accept, MIMEAccept)
    json_quality = max(_qualities(accepted, *JSON_TYPES), default=0)
    # Werkzeug does not find text/html;charset=utf-8 when asked for text/html.
    html_quality = max(_qualities(accepted, "text/html"), default=accepted.quality("text/html"))
    return json_quality > html_quality


_prefers_json = lru_cache(maxsize=256)(_weighs_json_higher)


def _qualities(accepted: MIMEAccept, *media_types: str) -> list[float]:
    """Return the weights of the types that are named, whatever their parameters."""
    return [
        quality
        for value, quality in accepted
        if value.partition(";")[0].strip().lower() in media_types
    ]
