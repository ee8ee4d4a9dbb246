"""The outermost WSGI middleware: gives each request an id, and each failure a page."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..context import in_flight, request_id, trace_context
from ..context.error_text import chain_of
from ..context.record_fields import GROUP
from ..context.waiting import overdue_requests, seconds_waited
from ..report.request import path_of
from ..reporting import registry
from ..reporting.pipeline import Pipeline, never
from .negotiation import PROBLEM_JSON, prefers_json
from .plain import plain_page, problem
from .style_policy import HEADER, POLICY
from .words import WORDS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ID_HEADER: Final = request_id.HEADER.lower()

logger = logging.getLogger(__name__)


class ErrorMiddleware:
    """WSGI middleware that gives request ids and catches what escapes the app.

    Flask does not handle exceptions of error handlers, nor a ``BaseException`` such as the
    ``SystemExit`` with which gunicorn ends a worker that has timed out. Without this middleware
    the visitor would get the server's bare page, and there would be no report.

    ``trust_headers`` says whether a proxy sets or checks the headers with the request's id, trace
    and start. ``propagate`` is called for each request, and returns whether exceptions go on to a
    debugger or a test.
    """

    def __init__(
        self,
        app: WSGIApplication,
        pipeline: Pipeline,
        *,
        trust_headers: bool,
        propagate: Callable[[], bool] = never,
    ) -> None:
        self.app = app
        self.pipeline = pipeline
        self.trust_headers = trust_headers
        self.propagate = propagate

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request (PEP 3333)."""
        environ[registry.PIPELINE] = self.pipeline
        if request_id.ENVIRON_KEY in environ:  # mounted in another app, whose middleware does it
            return self.app(environ, start_response)
        request_id.begin(environ, trusted=self.trust_headers)
        trace_context.begin(environ, trusted=self.trust_headers)
        timeout = self.pipeline.settings.server.request_timeout
        waited = seconds_waited(environ, timeout) if self.trust_headers else 0.0
        registry.enable_own_loggers()
        self.pipeline.ensure_delivery()
        response = _Response(environ, start_response, self.pipeline)
        if waited >= timeout:  # nginx has given up on it, or is about to
            return response.overdue_page(timeout)
        in_flight.begin(environ, waited)
        propagate = self.propagate()
        try:
            body = self.app(environ, response.start)
        except BaseException as error:
            if isinstance(error, GeneratorExit) or _is_ctrl_c(error):
                raise
            try:
                if propagate:
                    raise
                body = response.failure_page()  # raises if headers are on the wire
            except BaseException:
                response.forget()
                in_flight.end()
                raise
        return _Body(body, response, propagate)


def _is_ctrl_c(error: BaseException) -> bool:
    """Return whether a signal has raised ``error``, which Python does in the main thread only.

    In another thread the app has raised it, and gunicorn's worker would stop the whole server.
    """
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and isinstance(error, KeyboardInterrupt)


class BodyError(Exception):
    """A body failed after streaming began.

    gunicorn takes an OSError for a disconnect, and a KeyboardInterrupt for the server's end.
    """


class _Response:
    """One response: adds the request id, and reports a 5xx that nothing has reported yet."""

    def __init__(
        self, environ: WSGIEnvironment, start_response: StartResponse, pipeline: Pipeline
    ) -> None:
        self.environ = environ
        self.start_response = start_response
        self.pipeline = pipeline
        self.started = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if int(status[:3]) >= 500 and not self._is_reported():
            error = self.environ.get(request_id.EXCEPTION_KEY)
            method = self.environ["REQUEST_METHOD"]
            self._log(logging.ERROR, error, "Answered %s to %s %s", status, method, self._path())
        self.started = True
        kept = [header for header in headers if header[0].lower() != ID_HEADER]
        kept.append((request_id.HEADER, self.environ[request_id.ENVIRON_KEY]))
        return self.start_response(status, kept, exc_info)

    def failure_page(self) -> Iterable[bytes]:
        """Report the exception being handled, and return an error page if nothing was sent yet."""
        self.report()
        # With exc_info the server raises the exception again if headers are on the wire.
        exc_info = sys.exc_info() if self.started else None
        return self._page("500 INTERNAL SERVER ERROR", exc_info)

    def overdue_page(self, timeout: float) -> Iterable[bytes]:
        """Report a request that has waited ``timeout`` seconds for a thread; return its page."""
        self._log(
            logging.ERROR, None, overdue_requests.add(timeout), extra={GROUP: "overloaded requests"}
        )
        return self._page("504 GATEWAY TIMEOUT")

    def _page(self, status: str, exc_info: Any = None) -> Iterable[bytes]:
        """Begin the response with ``status``, and return its page."""
        identifier = self.environ[request_id.ENVIRON_KEY]
        code = int(status[:3])
        words = WORDS[code]
        if prefers_json(self.environ.get("HTTP_ACCEPT", "")):
            content_type = PROBLEM_JSON
            text = problem(code, words.title, words.detail, identifier)
        else:
            content_type = "text/html; charset=utf-8"
            text = plain_page(code, words.title, words.detail, identifier)
        body = text.encode()
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
            (HEADER, POLICY),
        ]
        self.start(status, headers, exc_info)
        return [] if self.environ["REQUEST_METHOD"] == "HEAD" else [body]

    def report(self) -> None:
        """Report the exception being handled."""
        error = sys.exc_info()[1]
        method = self.environ.get("REQUEST_METHOD")
        self._log(
            logging.CRITICAL,
            error,
            "Exception not handled by the app on %s [%s]",
            self._path(),
            method,
        )

    def _is_reported(self) -> bool:
        """Return whether the exception of this request has been reported."""
        reported = self.environ.get(request_id.REPORTED_KEY)
        error = self.environ.get(request_id.EXCEPTION_KEY)
        if reported is True or reported is None or error is None:
            return reported is not None
        return any(one is error for one in chain_of(reported))

    def _log(
        self,
        level: int,
        error: object,
        message: str,
        *arguments: object,
        extra: dict[str, object] | None = None,
    ) -> None:
        """Log and report; directly to the pipeline if logging has been switched off."""
        self.environ[request_id.REPORTED_KEY] = True
        try:
            information = None
            if isinstance(error, BaseException):
                information = (type(error), error, error.__traceback__)
            record = logger.makeRecord(
                logger.name, level, __file__, 0, message, arguments, information, "_log", extra
            )
            if logger.isEnabledFor(level) and not logger.disabled:
                logger.handle(record)
            else:
                self.pipeline.report(record)
        except Exception:  # even a broken log must not cost the visitor the page
            traceback.print_exc()

    def _path(self) -> str:
        return path_of(self.environ)

    def forget(self) -> None:
        """Drop the exception: its frames refer to the environment, a reference cycle."""
        self.environ.pop(request_id.EXCEPTION_KEY, None)
        if self.environ.get(request_id.REPORTED_KEY) is not None:
            self.environ[request_id.REPORTED_KEY] = True


class _Body:
    """The body of a response. An exception while it is sent is reported."""

    def __init__(self, body: Iterable[bytes], response: _Response, propagate: bool) -> None:
        self.body = body
        self.response = response
        self.propagate = propagate

    def __iter__(self) -> Iterator[bytes]:
        is_empty = True
        try:
            for part in self.body:
                in_flight.mark_responding()
                is_empty = False
                yield part
            if is_empty:
                in_flight.mark_responding()
        except GeneratorExit:
            raise  # the client has disconnected
        except BaseException as error:
            if self.propagate or _is_ctrl_c(error):
                raise
            yield from self._page()

    def _page(self) -> Iterable[bytes]:
        try:
            return self.response.failure_page()
        except (OSError, KeyboardInterrupt) as error:
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
            self.response.forget()
            in_flight.end()
