"""The WSGI middleware that counts requests, by route, and measures how long they take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..context import request_id
from ..context.in_flight import HEALTH_PATHS
from ..context.status_port import is_status_request
from ..report.request import ROUTE
from .instruments import NO_ROUTE, Instruments, safely

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class RequestMetrics:
    """WSGI middleware that counts requests with ``instruments``.

    Requests to ``status_port`` and health checks are not counted: visitors do not send them.
    """

    def __init__(self, app: WSGIApplication, instruments: Instruments, status_port: int) -> None:
        self.app = app
        self.instruments = instruments
        self.status_port = status_port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass on one request, and count it once its response is complete (PEP 3333)."""
        if (
            environ.get("PATH_INFO") in HEALTH_PATHS
            or is_status_request(environ, self.status_port)
            or request_id.ENVIRON_KEY in environ  # mounted in an app that counts it
        ):
            return self.app(environ, start_response)
        request = _Request(environ, start_response, self.instruments)
        try:
            body = self.app(environ, request.start)
        except BaseException:
            request.end()
            raise
        return _Body(body, request)


class _Request:
    """One request, from its beginning to the end of its response."""

    def __init__(
        self, environ: WSGIEnvironment, start_response: StartResponse, instruments: Instruments
    ) -> None:
        self.environ = environ
        self.start_response = start_response
        self.instruments = instruments
        self.status = "500"  # what the server answers if the app never begins a response
        self.begun = time.perf_counter()
        safely(instruments.in_flight.inc)

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.status = status[:3]
        return self.start_response(status, headers, exc_info)

    def end(self) -> None:
        safely(self.instruments.in_flight.dec)
        safely(
            self.instruments.count_request,
            self.environ["REQUEST_METHOD"],
            self.environ.get(ROUTE, NO_ROUTE),
            self.status,
            time.perf_counter() - self.begun,
        )


class _Body:
    """The body of a response, which ends its request when the server closes it."""

    def __init__(self, body: Iterable[bytes], request: _Request) -> None:
        self.body = body
        self.request = request

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def close(self) -> None:
        """Close the body, as PEP 3333 asks."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            self.request.end()
