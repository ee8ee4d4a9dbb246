"""The WSGI middlewares around an app, in their order."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from .health import HealthMiddleware, StatusPort
from .metrics.instruments import instruments
from .metrics.request_metrics import RequestMetrics
from .pages.middleware import ErrorMiddleware
from .reporting.pipeline import Pipeline


def wrap(app: Flask, pipeline: Pipeline) -> None:
    """Put the middlewares around ``app``, the outermost last."""

    def propagates() -> bool:
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        return bool(app.testing or app.debug if propagate is None else propagate)

    proxies = pipeline.settings.trusted_proxies
    wsgi: Any = HealthMiddleware(app.wsgi_app, app, pipeline)
    if proxies:
        wsgi = ProxyFix(wsgi, x_for=proxies, x_proto=proxies)
    wsgi = ErrorMiddleware(wsgi, pipeline, trust_headers=proxies > 0, propagate=propagates)
    port = pipeline.settings.server.status_port
    if pipeline.settings.server.metrics:
        wsgi = RequestMetrics(wsgi, instruments(), port)
    if port:
        wsgi = StatusPort(wsgi, port)
    app.wsgi_app = wsgi  # type: ignore[method-assign]
