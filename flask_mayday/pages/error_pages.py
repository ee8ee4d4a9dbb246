"""Answers the errors of an app for which it has no handler of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from flask import Flask, Response, render_template, request
from jinja2 import Environment, PackageLoader, TemplateNotFound
from werkzeug.datastructures import Headers
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
)

from .. import database
from ..context import request_id
from ..context.record_fields import GROUP
from ..settings import Settings
from .negotiation import PROBLEM_JSON, prefers_json
from .page_cache import PageCache, uses_only
from .plain import plain_page, problem
from .style_policy import allow_inline_style, restore_policy
from .words import Words, words_of

APP_TEMPLATE: Final = "mayday/page.html"  # in the app's own template folder
RETRY_AFTER: Final = 10  # seconds until a visitor should try again

# An environment of our own: an app's context processors can fail, or query a dead database.
environment: Final = Environment(
    loader=PackageLoader("flask_mayday.pages"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
# Exceptions that mean a request cannot be read; the gunicorn package adds its own.
unreadable_request_errors: list[type[Exception]] = []

Values = Callable[[str], dict[str, Any]]  # a page's values, for a request id

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Exceptions that are answered with 503 if ``when`` returns true for them."""

    kind: type[Exception]
    when: Callable[[Any], bool]
    message: str

    def matches(self, error: Exception) -> bool:
        """Return whether ``error`` is one of these exceptions."""
        return isinstance(error, self.kind) and self.when(error)


class ErrorPages:
    """The error pages of one app, as HTML or as a problem document (RFC 9457)."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.unavailable: list[Unavailable] = []
        # Determined at the first error: whether the app has a template, and whether the page that
        # it renders is the same for everyone.
        self._app_has_template: bool | None = None
        self._is_same_for_everyone: bool | None = None
        self._app_page_cache = PageCache()
        self._page_cache = PageCache()

    def install(self) -> None:
        """Answer, from now on, the errors for which Flask finds no handler of the app."""
        # Flask has no hook for errors without a handler. If ours were registered, Flask would
        # prefer our handler of 404 to the app's handler of HTTPException.
        find = self.app._find_error_handler

        # Flask 2.3 passes no blueprints.
        def find_error_handler(error: Exception, *blueprints: list[str]) -> Any:
            if not isinstance(error, HTTPException):
                request.environ[request_id.EXCEPTION_KEY] = error
            return find(error, *blueprints) or self.handler_for(error)

        self.app._find_error_handler = find_error_handler  # type: ignore[method-assign,assignment]
        # Flask calls the first of these functions last.
        self.app.after_request_funcs.setdefault(None, []).insert(0, restore_policy)

    def handler_for(self, error: Exception) -> Callable[[Any], Any] | None:
        """Return our handler for an error; ``None`` lets Flask answer 500."""
        if isinstance(error, tuple(unreadable_request_errors)):
            return self.answer_unreadable_request
        if isinstance(error, HTTPException):
            # With TRAP_HTTP_EXCEPTIONS the app wants it to reach the debugger.
            return None if self.app.trap_http_exception(error) else self.answer
        for unavailable in self.unavailable:
            if unavailable.matches(error):
                return lambda error: self.answer_unavailable(error, unavailable.message)
        return None

    def answer(self, error: HTTPException) -> Response | HTTPException:
        """Return the page of an HTTP error; a redirect or an error with a response is unchanged."""
        if error.response is not None or error.code is None or error.code < 400:
            return error
        if error.code >= 500:
            database.roll_back(self.app)
        headers = [one for one in error.get_headers(request.environ) if one[0] != "Content-Type"]
        return self.page(error.code, headers, detail=_description_of(error))

    def answer_unavailable(self, error: Exception, message: str) -> Response:
        """Report that a service is unavailable, and answer 503."""
        # If the watchdog has already reported that the request takes too long, this is a warning.
        is_first = request_id.claim(request.environ, "unavailable")
        level = logging.ERROR if is_first else logging.WARNING
        logger.log(level, message, exc_info=error, extra={GROUP: f"unavailable: {message}"})
        request.environ[request_id.REPORTED_KEY] = True
        database.roll_back(self.app)
        return self.page(503)

    def answer_unreadable_request(self, error: Exception) -> Response | HTTPException:
        """Answer 400: the body's chunks are broken, or it ends too early."""
        del error
        return self.answer(BadRequest())

    def page(
        self, status: int, extra_headers: Iterable[tuple[str, str]] = (), detail: str | None = None
    ) -> Response:
        """Return the page for ``status``, in the form that the client asked for.

        ``detail`` says more precisely what happened than the default text for the status.
        """
        words = words_of(status)
        cacheable = detail is None and not (self.app.testing or self.app.jinja_env.auto_reload)
        if detail is not None:
            words = Words(words.title, detail)
        identifier = request_id.current() or "-"
        headers = Headers(extra_headers)
        headers["Vary"], headers["Cache-Control"] = "Accept", "no-store"
        if status in (502, 503):
            headers.setdefault("Retry-After", str(RETRY_AFTER))
        if prefers_json(request.headers.get("Accept", "")):
            body = problem(status, words.title, words.detail, identifier)
            return Response(body, status, headers, mimetype=PROBLEM_JSON)

        values = partial(self._values, status, words)
        page = self._page_of_the_app(values, status, identifier, cacheable)
        if page is not None:
            return Response(page, status, headers, mimetype="text/html")
        page = self._page_of_this_package(values, status, identifier, cacheable)
        return allow_inline_style(Response(page, status, headers, mimetype="text/html"))

    def _values(self, status: int, words: Words, identifier: str) -> dict[str, Any]:
        return {
            "app_name": self.settings.app.name,
            "status": status,
            "title": words.title,
            "detail": words.detail,
            "request_id": identifier,
            "reported": status >= 500,
            "mailed": self.settings.mail.server is not None,
            "drill": self.settings.drill,
            "log_hint": self.settings.app.log_hint.replace("{request_id}", identifier),
        }

    def _page_of_the_app(
        self, values: Values, status: int, identifier: str, cacheable: bool
    ) -> str | None:
        """Return the page from the app's template; ``None`` if it has none, or it fails."""

        def render(identifier: str) -> str:
            return render_template(APP_TEMPLATE, **values(identifier))

        try:
            if not self._finds_app_template():
                return None
            if self._is_same_for_everyone is None:
                names = values(identifier).keys()
                self._is_same_for_everyone = uses_only(self.app.jinja_env, APP_TEMPLATE, names)
            if cacheable and self._is_same_for_everyone:
                return self._app_page_cache.page(status, identifier, render)
            return render(identifier)
        except Exception:
            logger.exception("The app's template %s failed", APP_TEMPLATE)
        return None

    def _page_of_this_package(
        self, values: Values, status: int, identifier: str, cacheable: bool
    ) -> str:
        def render(identifier: str) -> str:
            return environment.get_template("page.html").render(values(identifier))

        try:
            if cacheable:
                return self._page_cache.page(status, identifier, render)
            return render(identifier)
        except Exception:
            logger.exception("The template of the error page failed")
            known = values(identifier)
            return plain_page(status, known["title"], known["detail"], identifier)

    def _finds_app_template(self) -> bool:
        if self._app_has_template is None:
            try:
                self.app.jinja_env.get_template(APP_TEMPLATE)
            except TemplateNotFound as error:
                self._app_has_template = error.name != APP_TEMPLATE
            except Exception:
                self._app_has_template = True  # it exists and is broken: logged at each error
            else:
                self._app_has_template = True
        return self._app_has_template


def _description_of(error: HTTPException) -> str | None:
    """Return the description that a view has given; for a 5xx none, as it may show internals."""
    if isinstance(error, InternalServerError) or error.code is None or error.code >= 500:
        return None
    return None if error.description == type(error).description else error.description
