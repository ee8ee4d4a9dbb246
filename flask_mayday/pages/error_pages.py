"""Error pages: one template for every status, HTML or JSON, without a query to the database."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, current_app, render_template, request
from gunicorn.http.errors import NoMoreData, ParseException
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import Headers
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    ServiceUnavailable,
)

from app.database import is_unavailable, roll_back

from ..context import request_id
from ..settings import Settings
from .plain import PROBLEM_JSON, plain_page, prefers_json, problem

RETRY_AFTER: Final = 10  # seconds until a visitor should try again
REPORTED: Final = "microblog.reported"  # in the WSGI environment: the log has told of this error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says: what happened, and what to do now."""

    title: str
    detail: str


# One voice: what happened, and what to do now. nginx's template says the same of what it answers
# itself.
WORDS: Final = {
    400: Words(
        "That was not understood",
        "What your browser sent cannot be used. Go back, reload the page, and try again.",
    ),
    401: Words("Please log in", "This page is for people who are logged in."),
    403: Words("Forbidden", "This address is not for you. Go back."),
    404: Words(
        "File Not Found",
        "There is no page at this address. Check it for typing errors, or go back.",
    ),
    405: Words(
        "Method Not Allowed", "This address exists, but it cannot be used like that. Go back."
    ),
    410: Words("Gone", "What was here has been taken away for good."),
    412: Words(
        "That has changed", "What your browser expected is no longer what is here. Reload the page."
    ),
    413: Words("That is too much", "What you sent is larger than this site takes. Send less."),
    414: Words(
        "That address is too long",
        "The address is longer than this site reads. Shorten it, or go back.",
    ),
    415: Words("Unsupported Media Type", "This site cannot read what you sent in that form."),
    429: Words("Too many requests", "That was a lot at once. Wait a moment, then try again."),
    431: Words(
        "That is too much",
        "Your browser sent more headers than this site reads. "
        "Delete this site's cookies, and try again.",
    ),
    500: Words(
        "An unexpected error has occurred",
        "Sorry for the inconvenience! What you entered may not have been saved: try again later.",
    ),
    501: Words("Not Implemented", "This site does not know how to do that."),
    502: Words(
        "We are back in a moment",
        "The service cannot answer right now. Try again in a few seconds.",
    ),
    503: Words(
        "We are back in a moment",
        "The service cannot answer right now. Try again in a few seconds.",
    ),
    504: Words("That took too long", "The service did not answer in time. Try again in a moment."),
    505: Words(
        "HTTP Version Not Supported",
        "This site does not speak that version of HTTP. Try another browser.",
    ),
}


def init_app(app: Flask) -> None:
    """Answer every error of ``app`` with a page of ours."""
    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(SQLAlchemyError, answer_database_error)
    # gunicorn's, from reading a body: nginx lets no such body through.
    app.register_error_handler(ParseException, answer_broken_body)
    app.register_error_handler(NoMoreData, answer_broken_body)


def answer(error: HTTPException) -> Response | HTTPException:
    """Return the page of an HTTP error. A redirect, or a response made elsewhere, stays itself."""
    if error.response is not None or error.code is None or error.code < 400:
        return error
    if error.code >= 500:
        roll_back()
    if isinstance(error, InternalServerError) and error.original_exception is not None:
        request.environ[REPORTED] = True  # Flask has logged it, with its traceback
    headers = Headers(error.get_headers(request.environ))
    headers.remove("Content-Type")
    return page(error.code, headers, detail=_own_words(error))


def answer_database_error(error: SQLAlchemyError) -> Response | HTTPException:
    """Ask the visitor to come back where the database is away; anything else is a 500."""
    if not is_unavailable(error):
        raise error
    logger.error("The database cannot be reached", exc_info=error)
    request.environ[REPORTED] = True
    return answer(ServiceUnavailable())


def answer_broken_body(error: ParseException | NoMoreData) -> Response | HTTPException:
    """Refuse a body whose chunks are broken or which ends too early: no error of ours."""
    del error
    return answer(BadRequest())


def page(status: int, headers: Headers, detail: str | None = None) -> Response:
    """Return the page for ``status``, in the form that the client asked for.

    ``detail`` says what happened more exactly than the page's own words.
    """
    words = WORDS.get(status) or Words(_phrase(status), "")
    if detail is not None:
        words = Words(words.title, detail)
    identifier = request_id.current() or "-"
    if prefers_json(request.headers.get("Accept", "")):
        body, mimetype = problem(status, words.title, words.detail, identifier), PROBLEM_JSON
    else:
        body, mimetype = _html(status, words, identifier), "text/html"
    headers["Vary"] = "Accept"
    headers["Cache-Control"] = "no-store"
    if status in (502, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER))
    return Response(body, status, headers, mimetype=mimetype)


def _html(status: int, words: Words, identifier: str) -> str:
    settings: Settings = current_app.extensions["settings"]
    try:
        return render_template(
            "mayday/page.html",
            status=status,
            title=words.title,
            detail=words.detail,
            request_id=identifier,
            reported=status >= 500,
            mailed=settings.mail.server is not None,
            drill=settings.drill,
        )
    except Exception:
        logger.exception("The template of the error page failed")
        return plain_page(status, words.title, words.detail, identifier)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _own_words(error: HTTPException) -> str | None:
    """Return what a view said beyond the status; of a 5xx nothing, it may tell of the inside."""
    if error.code is None or error.code >= 500 or error.description == type(error).description:
        return None
    return error.description
