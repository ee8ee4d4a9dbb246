"""Serves ``/drill``: a page of buttons, the drills behind them, previews of the error pages."""

from __future__ import annotations

import email
import json
import re
from email.policy import default
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Response, abort, current_app, request
from werkzeug.datastructures import Headers

from ..context import request_id
from ..pages.error_pages import ErrorPages, environment
from ..pages.negotiation import prefers_json
from ..pages.words import WORDS
from ..report.request import ROUTE
from .drills import DRILLS

PATH: Final = re.compile(
    r"/drill(?:/(?P<page>pages(?:/(?P<status>\d{3}))?|pages/nginx/(?P<nginx>\d{3})"
    r"|mail/(?P<mail>[0-9a-f]{32})|(?P<kind>[a-z-]+)))?/?"
)
NGINX_PAGES: Final = (400, 403, 404, 405, 412, 413, 414, 431, 500, 501, 502, 503, 504, 505)


class DrillRoutes:
    """Answers requests for ``/drill`` before the app sees them, in a ``before_request`` function.

    So the app's login and CSRF checks do not apply, and its error handlers do. Where the app has
    a route at the same path, the app answers.
    """

    def __init__(self, pages: ErrorPages) -> None:
        self.pages = pages
        self._app_has_drill: bool | None = None

    def answer(self) -> Response | None:
        """Return the response to a request for ``/drill``, or ``None``."""
        if not request.path.startswith("/drill"):
            return None
        found = PATH.fullmatch(request.path)
        if found is None or self._is_route_of_the_app():
            return None
        if request.method == "POST":
            return self._run(found["kind"])
        if request.method not in ("GET", "HEAD"):
            abort(405)
        return self._show(found)

    def _is_route_of_the_app(self) -> bool:
        if self._app_has_drill is None:
            rules = current_app.url_map.iter_rules()
            self._app_has_drill = any(re.match("/drill(/|$)", rule.rule) for rule in rules)
        return self._app_has_drill

    def _run(self, kind: str | None) -> Response:
        drill = DRILLS.get(kind or "")
        if drill is None:
            abort(404)
        request.environ[ROUTE] = "/drill/<kind>"
        origin = request.headers.get("Origin")
        if origin is not None and not _is_own(origin):
            abort(403, "Another site sent this form: open /drill itself.")
        response = drill()
        if response.mimetype == "application/json" and _wants_page():
            return self._render("counts.html", counts=json.loads(response.get_data()))
        return response

    def _show(self, found: re.Match[str]) -> Response:
        if status := found["status"] or found["nginx"]:
            return self._preview(int(status))
        if found["mail"]:
            return self._mail(found["mail"])
        if found["page"]:
            if found["kind"]:
                abort(404) if found["kind"] not in DRILLS else abort(405)
            return self._render("error_pages.html", words=WORDS, nginx=NGINX_PAGES)
        return self._render("drill.html", settings=self.pages.settings)

    def _preview(self, status: int) -> Response:
        """Return an error page without an error, and so without a report.

        nginx puts its own in place of those that are requested as nginx's.
        """
        if status not in WORDS:
            abort(404)
        request.environ[request_id.REPORTED_KEY] = True
        return self.pages.page(status, Headers())

    def _mail(self, identifier: str) -> Response:
        """Return the mail about a request, as its administrators read it."""
        content = current_app.extensions["mayday"].courier.mail_of(identifier)
        if content is None:
            response = self._render("no_mail.html", request_id=identifier)
            response.headers["Refresh"] = "1"
            return response
        message = email.message_from_bytes(content, policy=default)
        body = message.get_body(("html", "plain"))
        response = Response("" if body is None else body.get_content(), mimetype="text/html")
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'"
        )
        return response

    def _render(self, template: str, **values: Any) -> Response:
        values["app_name"] = self.pages.settings.app.name
        text = environment.get_template(template).render(values)
        return Response(text, headers={"Cache-Control": "no-store"}, mimetype="text/html")


def _wants_page() -> bool:
    """Return whether a person sent the form: a browser's Accept header names HTML."""
    accept = request.headers.get("Accept", "")
    return "text/html" in accept and not prefers_json(accept)


def _is_own(origin: str) -> bool:
    # "null", an opaque origin, has no host and so is never ours (RFC 6454).
    try:
        return bool(origin) and urlsplit(origin).netloc == request.host
    except ValueError:
        return False
