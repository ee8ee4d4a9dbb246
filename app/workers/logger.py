"""gunicorn's loggers, joined to the app's log."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from ..records import UNREPORTED
from . import deaths

QUIET_PATHS = frozenset({"/health/live", "/health/ready"})


class Logger(GunicornLogger):  # type: ignore[misc]
    """Hands gunicorn's records to the root logger, so that one log has them all."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn's loggers up without handlers of their own."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True

    def critical(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at CRITICAL; what is said of a worker's death is reported once it is reaped."""
        self._log(logging.CRITICAL, msg, args, kwargs)

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at ERROR, likewise."""
        self._log(logging.ERROR, msg, args, kwargs)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log at WARNING, likewise."""
        self._log(logging.WARNING, msg, args, kwargs)

    def _log(self, level: int, msg: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if deaths.is_told_later(msg, args):
            kwargs = {**kwargs, "extra": {UNREPORTED: True}}
        self.error_log.log(level, msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Log a request; a health check, which comes every few seconds, only at DEBUG."""
        if environ.get("PATH_INFO") in QUIET_PATHS:
            self.access_log.debug("%s %s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
        else:
            super().access(resp, req, environ, request_time)
