"""The outermost layer of the app: every request gets an id, and every failure a page."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..context import in_flight, request_id
from .error_pages import REPORTED, WORDS
from .plain import PROBLEM_JSON, plain_page, prefers_json, problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)


class ErrorBoundary:
    """WSGI middleware that gives ids and catches what escapes the app.

    What escapes Flask is what its handlers raise themselves and what is no ``Exception``:
    gunicorn ends a worker that has timed out with ``SystemExit``, and without this layer the
    visitor gets the server's bare page and nobody a report.
    """

    def __init__(
        self, app: WSGIApplication, *, trust_header: bool, propagate: bool = False
    ) -> None:
        self.app = app
        self.trust_header = trust_header
        self.propagate = propagate  # to the debugger, which shows more than any page

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        request_id.begin(environ, trusted=self.trust_header)
        in_flight.begin(environ)
        response = _Response(environ, start_response)
        try:
            body = self.app(environ, response.start)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:
            if self.propagate:
                raise
            body = response.failed()
        return _Body(body, response)


class BodyError(Exception):
    """A body failed that was begun; of an ``OSError`` gunicorn would think that the client left."""


class _Response:
    """One response: adds the request id, and reports a 5xx that nothing has reported yet."""

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self.environ = environ
        self.start_response = start_response
        self.started = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if int(status[:3]) >= 500 and not self.environ.get(REPORTED):
            self.environ[REPORTED] = True
            logger.error(
                "Answered %s to %s %s", status, self.environ["REQUEST_METHOD"], self._path()
            )
        self.started = True
        name = request_id.HEADER
        kept = [(key, value) for key, value in headers if key.lower() != name.lower()]
        kept.append((name, self.environ[request_id.ENVIRON_KEY]))
        return self.start_response(status, kept, exc_info)

    def failed(self) -> Iterable[bytes]:
        """Report the exception being handled; answer it where nothing has been sent yet."""
        self.report()
        identifier = self.environ[request_id.ENVIRON_KEY]
        words = WORDS[500]
        if prefers_json(self.environ.get("HTTP_ACCEPT", "")):
            kind, text = PROBLEM_JSON, problem(500, words.title, words.detail, identifier)
        else:
            kind = "text/html; charset=utf-8"
            text = plain_page(500, words.title, words.detail, identifier)
        body = text.encode()
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
        ]
        # With exc_info the server raises the exception again if headers are on the wire.
        exc_info = sys.exc_info() if self.started else None
        self.start("500 INTERNAL SERVER ERROR", headers, exc_info)
        return [] if self.environ["REQUEST_METHOD"] == "HEAD" else [body]

    def report(self) -> None:
        """Report the exception being handled."""
        self.environ[REPORTED] = True
        try:
            logger.critical(
                "Exception outside the app on %s [%s]",
                self._path(),
                self.environ["REQUEST_METHOD"],
                exc_info=True,
            )
        except Exception:  # even a broken log must not cost the visitor the page
            traceback.print_exc()

    def _path(self) -> str:
        return str(self.environ.get("PATH_INFO", ""))


class _Body:
    """A response's body, whose failure while it is sent is reported too."""

    def __init__(self, body: Iterable[bytes], response: _Response) -> None:
        self.body = body
        self.response = response

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self.body:
                in_flight.answer()
                yield part
            in_flight.answer()  # a head alone is sent after it
        except GeneratorExit:
            raise  # the client has gone
        except BaseException:
            yield from self._page()

    def _page(self) -> Iterable[bytes]:
        try:
            return self.response.failed()
        except OSError as error:
            raise BodyError("The body failed after its beginning was sent") from error

    def close(self) -> None:
        """Close the body, as PEP 3333 asks."""
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        except Exception as error:
            self.response.report()
            raise BodyError("The body could not be closed") from error
        finally:
            in_flight.end()
