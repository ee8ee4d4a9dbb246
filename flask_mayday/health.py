"""Health: whether this process serves requests (live), and whether a visitor's would succeed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from flask import Flask
from werkzeug.wrappers import Response

from . import database
from .context.in_flight import HEALTH
from .context.request_id import REPORTED_KEY
from .reporting.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LIVE: Final = "/health/live"
READY: Final = "/health/ready"


class HealthMiddleware:
    """Answers the health checks before the app does.

    Whatever the app asks of every request, such as a login, HTTPS or a trusted host, does not
    apply to them. Where the app has a route at the same path, the app answers.
    """

    def __init__(self, wsgi: WSGIApplication, app: Flask, pipeline: Pipeline) -> None:
        self.wsgi = wsgi
        self.app = app
        self.pipeline = pipeline
        self._own: frozenset[str] | None = None  # paths that are the app's; asked once

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a health check, or let the app answer (PEP 3333)."""
        path = environ.get("PATH_INFO")
        if path in HEALTH and path not in self._paths_of_the_app():
            response = self._answer(path)
            # The answer is a state, not an error: the requests that suffer are reported.
            environ[REPORTED_KEY] = True
            return response(environ, start_response)
        return self.wsgi(environ, start_response)

    def _paths_of_the_app(self) -> frozenset[str]:
        if self._own is None:
            self._own = frozenset(rule.rule for rule in self.app.url_map.iter_rules())
        return self._own

    def _answer(self, path: str) -> Response:
        if path == LIVE:
            # Stuck mail, or a spool that takes no reports, is said here too: it is read where no
            # mail arrives. The status stays 200, because a restart would not help.
            return _json({"status": "ok", **self.pipeline.courier.state()}, 200)
        trouble = database.trouble_of(self.app)
        if trouble is not None:
            return _json({"status": "unavailable", "database": trouble}, 503)
        return _json({"status": "ok", "database": "ok"}, 200)


def _json(content: dict[str, str], status: int) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(content) + "\n", status, headers, mimetype="application/json")
