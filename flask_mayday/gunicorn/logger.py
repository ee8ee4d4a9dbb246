"""gunicorn's loggers, which write to the app's log."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from ..context import request_id
from ..context.record_fields import UNREPORTED
from ..health import is_monitoring
from ..report.request import ROUTE, path_of
from ..reporting import stdout
from . import patches, server, worker_deaths, worker_metrics

# gunicorn's message about an exception that the app raises while the response is being sent.
RESPONSE_FAILED = "Error handling request"
# The start of gunicorn's message about a request that it cannot read; it quotes the request.
REFUSED = "Invalid request from "
QUERY = re.compile(r"\?[^\s']*")
# Characters that are logged of a path or of a refused request: long ones must not fill the log.
SHOWN = 300


class Logger(GunicornLogger):  # type: ignore[misc]
    """Passes gunicorn's records to the root logger, so that one log has everything."""

    def setup(self, cfg: Any) -> None:
        """Remove the handlers of gunicorn's loggers, apply our patches, and start reporting.

        This is the first of our code that gunicorn runs, before it loads the app.
        """
        server.check(cfg)
        settings = server.boot_settings(server.app_named_in(cfg))
        super().setup(cfg)
        if settings.log.level != "DEBUG":
            # gunicorn makes two DEBUG records per request, which the log would not keep.
            self.error_log.setLevel(logging.INFO)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True
        self.slow = timedelta(milliseconds=settings.log.slow_ms)
        self.status_port = settings.server.status_port
        patches.apply()
        worker_metrics.prepare(settings.server)
        stdout.install()
        server.start_boot_pipeline(settings)

    def critical(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at CRITICAL, without a report if a worker's death will be reported."""
        self._log(logging.CRITICAL, msg, args, kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR, without a report if a worker's death will be reported."""
        self._log(logging.ERROR, msg, args, kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR with the traceback, and report it unless it has been reported."""
        environ = request_id.current_environ() or {}
        is_reported = msg == RESPONSE_FAILED and environ.get(request_id.REPORTED_KEY)
        kwargs = {
            "exc_info": True,
            **({"extra": {UNREPORTED: True}} if is_reported else {}),
            **kwargs,
        }
        self._log(logging.ERROR, msg, args, kwargs)
        worker_deaths.note_own_end(msg)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at WARNING; a request that gunicorn has refused is logged without its query."""
        if isinstance(msg, str) and msg.startswith(REFUSED):
            msg = shortened(QUERY.sub("", msg))
        self._log(logging.WARNING, msg, args, kwargs)

    def _log(self, level: int, msg: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # gunicorn's own message may be an exception.
        if isinstance(msg, str) and worker_deaths.note_worker_end(msg, args):
            kwargs = {**kwargs, "extra": {UNREPORTED: True}}
        self.error_log.log(level, msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log the access line of a request: client, method, path, status, time, bytes and user.

        A slow request is logged at WARNING; a health check or a scrape at DEBUG, as they are
        frequent.
        """
        del req
        level = logging.WARNING if request_time >= self.slow else logging.INFO
        if is_monitoring(environ, self.status_port):
            level = logging.DEBUG
        if not self.access_log.isEnabledFor(level):
            return
        fields = access_fields(resp, environ, request_time)
        arguments = (
            fields["client"] or "-",
            fields["method"],
            fields["url.path"],
            fields["status"],
            fields["duration_ms"],
            fields["bytes"],
            fields["user_id"] or "-",
        )
        # Not access_log.log(), which would search the stack for its caller.
        caller = sys._getframe(1)
        self.access_log.handle(
            self.access_log.makeRecord(
                self.access_log.name,
                level,
                caller.f_code.co_filename,
                caller.f_lineno,
                '%s "%s %s" %s %.0f ms %s bytes user %s',
                arguments,
                None,
                caller.f_code.co_name,
                fields,
            )
        )


def access_fields(
    response: Any, environ: Mapping[str, object], request_time: timedelta
) -> dict[str, object]:
    """Return the fields of an access line.

    The request's path is ``url.path``, as in OpenTelemetry: in every record, ``path`` is that of
    the source file.
    """
    status = str(response.status).partition(" ")[0]
    return {
        "client": environ.get("REMOTE_ADDR") or None,
        "method": environ.get("REQUEST_METHOD"),
        "url.path": shortened(path_of(environ)),
        "route": environ.get(ROUTE),
        "status": int(status) if status.isdigit() else status,
        "duration_ms": round(request_time / timedelta(milliseconds=1), 1),
        "bytes": response.sent,
        "user_id": environ.get(request_id.USER_KEY),
    }


def shortened(text: str) -> str:
    """Return a text that a client has sent, cut after ``SHOWN`` characters."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
