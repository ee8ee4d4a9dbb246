"""The texts of all error pages; nginx's are generated from this table."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final


@dataclass(frozen=True)
class Words:
    """The texts of a page: ``title`` is what happened, ``detail`` what the visitor can do."""

    title: str
    detail: str


WORDS: Final = {
    400: Words(
        "Bad request",
        "Your browser sent something that this site cannot read. "
        "Go back, reload the page, and try again.",
    ),
    401: Words("Please log in", "This page is for people who are logged in."),
    403: Words("Forbidden", "You don't have permission to see this page."),
    404: Words("File Not Found", "There is no page at this address. Check the address for typos."),
    405: Words("Method not allowed", "This address does not accept this kind of request."),
    406: Words(
        "Not acceptable", "This page is not available in a format that your browser accepts."
    ),
    408: Words("Request timed out", "Your request took too long to arrive. Try again."),
    409: Words("Conflict", "Someone else has changed this in the meantime. Reload the page."),
    410: Words("Gone", "This page has been removed permanently."),
    412: Words("This page has changed", "It changed since you opened it. Reload the page."),
    413: Words("Too large", "What you sent is larger than this site accepts."),
    414: Words("Address too long", "The address is longer than this site accepts. Shorten it."),
    415: Words("Unsupported media type", "This site cannot read this type of content."),
    422: Words(
        "Unprocessable content", "Some of what you sent is not valid. Check it and try again."
    ),
    429: Words("Too many requests", "Wait a moment and try again."),
    431: Words(
        "Request too large",
        "Your browser sent more headers than this site accepts. "
        "Delete this site's cookies and try again.",
    ),
    500: Words(
        "An unexpected error has occurred",
        "Sorry for the inconvenience! What you entered may not have been saved. Try again later.",
    ),
    501: Words("Not implemented", "This site cannot do that."),
    502: Words(
        "We'll be back in a moment",
        "The site cannot answer right now. Try again in a few seconds.",
    ),
    503: Words(
        "We'll be back in a moment",
        "The site cannot answer right now. Try again in a few seconds.",
    ),
    504: Words("That took too long", "The site did not answer in time. Try again in a moment."),
    505: Words(
        "HTTP version not supported",
        "This site does not support that version of HTTP. Try another browser.",
    ),
}


def words_of(status: int) -> Words:
    """Return the texts for ``status``; for one that is not in the table, its HTTP phrase."""
    if status in WORDS:
        return WORDS[status]
    try:
        return Words(HTTPStatus(status).phrase.capitalize(), "")
    except ValueError:
        return Words("Error", "")
