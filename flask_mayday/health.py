"""What the status port serves: metrics, and health checks, which the app's port serves too.

A process is live if it serves requests, and ready if it can serve visitors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from flask import Flask
from werkzeug.wrappers import Response

from . import database
from .context.in_flight import HEALTH_PATHS
from .context.request_id import REPORTED_KEY
from .context.status_port import is_status_request
from .metrics import exposition
from .reporting.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LIVE: Final = "/health/live"

FORWARDED: Final = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_X_REQUEST_ID")
NOT_HERE: Final = Response("There are only health checks and metrics on this port.\n", 404)


class HealthMiddleware:
    """WSGI middleware that answers ``/health/live`` and ``/health/ready`` before the app does.

    So what the app requires of every request, such as a login, HTTPS or a trusted host, does not
    apply to them. If the app has a route at the same path, the app answers. On ``STATUS_PORT``
    everything else is 404, except ``/metrics`` if the setting ``METRICS`` is on.
    """

    def __init__(self, wsgi: WSGIApplication, app: Flask, pipeline: Pipeline) -> None:
        self.wsgi = wsgi
        self.app = app
        self.pipeline = pipeline
        self.status_port = pipeline.settings.server.status_port
        self._own: frozenset[str] | None = None  # paths of the app's routes, read once

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a health check, or let the app answer (PEP 3333)."""
        path = environ.get("PATH_INFO")
        if path in HEALTH_PATHS and path not in self._paths_of_the_app():
            response = self._answer(path)
            # A 503 here is not reported: the requests that fail for the same reason are.
            environ[REPORTED_KEY] = True
            return response(environ, start_response)
        if path not in HEALTH_PATHS and is_status_request(environ, self.status_port):
            has_metrics = path == exposition.PATH and self.pipeline.settings.server.metrics
            return (_metrics() if has_metrics else NOT_HERE)(environ, start_response)
        return self.wsgi(environ, start_response)

    def _paths_of_the_app(self) -> frozenset[str]:
        if self._own is None:
            self._own = frozenset(rule.rule for rule in self.app.url_map.iter_rules())
        return self._own

    def _answer(self, path: str) -> Response:
        if path == LIVE:
            # Mail, spool and log are included, so that a monitor sees when no mail can arrive.
            # The status stays 200: a restart would not help.
            log = self.pipeline.log_file.trouble or "ok"
            return _json({"status": "ok", **self.pipeline.courier.state(), "log": log}, 200)
        trouble = database.trouble_of(self.app)
        if trouble is not None:
            return _json({"status": "unavailable", "database": trouble}, 503)
        # The watch process needs it to notice that the database keeps restarting.
        started = database.server_started(self.app)
        extra = {} if started is None else {"database_started": started}
        return _json({"status": "ok", "database": "ok", **extra}, 200)


class StatusPort:
    """WSGI middleware around all others that removes forwarding headers on ``STATUS_PORT``.

    No proxy is in front of that port, so anybody could have sent them.
    """

    def __init__(self, app: WSGIApplication, port: int) -> None:
        self.app = app
        self.port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass on one request (PEP 3333)."""
        if is_status_request(environ, self.port):
            for name in [name for name in environ if name.startswith(FORWARDED)]:
                del environ[name]
        return self.app(environ, start_response)


def is_monitoring(environ: WSGIEnvironment, port: int) -> bool:
    """Return whether a request is a health check or a scrape; ``port`` is the status port."""
    path = environ.get("PATH_INFO")
    return path in HEALTH_PATHS or (path == exposition.PATH and is_status_request(environ, port))


def _metrics() -> Response:
    headers = {"Content-Type": exposition.CONTENT_TYPE, "Cache-Control": "no-store"}
    return Response(exposition.exposition_of_server(), headers=headers)


def _json(content: Mapping[str, object], status: int) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(content) + "\n", status, headers, mimetype="application/json")
