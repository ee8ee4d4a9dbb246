"""gunicorn's loggers, joined to the app's log."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from ..context import request_id
from ..context.in_flight import HEALTH
from ..context.record_fields import UNREPORTED
from . import patches, server, stdout, worker_deaths

# gunicorn of an exception that comes out of the app when a part of the answer is sent.
CUT_OFF = "Error handling request"
# gunicorn of a request that it cannot read, and quotes.
REFUSED = "Invalid request from "
QUERY = re.compile(r"\?[^\s']*")


class Logger(GunicornLogger):  # type: ignore[misc]
    """Hands gunicorn's records to the root logger, so that one log has them all."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn's loggers up without handlers of their own; start to log and report.

        This is the first of our code that gunicorn runs, before it loads the app.
        """
        server.check(cfg)
        settings = server.boot_settings(server.app_named_in(cfg))
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True
        self.slow = timedelta(milliseconds=settings.log.slow_ms)
        patches.apply()
        stdout.install()
        server.start_boot_pipeline(settings)

    def critical(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at CRITICAL; what is said of a worker's death is reported once it is reaped."""
        self._log(logging.CRITICAL, msg, args, kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR, likewise."""
        self._log(logging.ERROR, msg, args, kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR with the traceback, and report it unless that was done already."""
        environ = request_id.current_environ() or {}
        told = msg == CUT_OFF and environ.get(request_id.REPORTED_KEY)
        kwargs = {"exc_info": True, **({"extra": {UNREPORTED: True}} if told else {}), **kwargs}
        self._log(logging.ERROR, msg, args, kwargs)
        worker_deaths.tell_oneself(msg)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at WARNING, likewise; what was refused without its query."""
        if msg.startswith(REFUSED):
            msg = QUERY.sub("", msg)
        self._log(logging.WARNING, msg, args, kwargs)

    def _log(self, level: int, msg: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if worker_deaths.is_told_later(msg, args):
            kwargs = {**kwargs, "extra": {UNREPORTED: True}}
        self.error_log.log(level, msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log a request: the one line that each has, from whom knows its time and its bytes.

        A slow one at WARNING; a health check, which comes every few seconds, only at DEBUG.
        """
        del req
        level = logging.WARNING if request_time >= self.slow else logging.INFO
        if environ.get("PATH_INFO") in HEALTH:
            level = logging.DEBUG
        self.access_log.log(
            level,
            '%s "%s %s" %s %.0f ms %s bytes user %s',
            environ.get("REMOTE_ADDR") or "-",
            environ.get("REQUEST_METHOD"),
            environ.get(request_id.PATH_KEY) or environ.get("PATH_INFO"),
            str(resp.status).partition(" ")[0],
            request_time / timedelta(milliseconds=1),
            resp.sent,
            environ.get(request_id.USER_KEY, "-"),
            stacklevel=2,  # where gunicorn has served it
        )
