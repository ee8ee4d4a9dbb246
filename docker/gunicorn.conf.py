"""gunicorn's configuration: preloaded, fork-safe, joined to the app's log and reports."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

# gunicorn puts the working directory on the path only after it has read this file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flask_mayday import __version__
from flask_mayday.gunicorn import boot, refusals, watchdog, whole_response
from flask_mayday.gunicorn import shutdown as stop
from flask_mayday.gunicorn import worker_deaths as deaths
from flask_mayday.settings import TRUE, ConfigurationError, read_settings

EARLY = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
COURIER_GRACE = 5.0  # seconds that a stopping worker waits for the mail it is sending

try:
    _settings = read_settings()
except ConfigurationError as error:
    sys.exit(error.message)
if os.environ.get("FLASK_DEBUG", "").strip().lower() in TRUE:
    sys.exit(
        "FLASK_DEBUG is on: Werkzeug's debugger must not stand where others can reach it.\n"
        "Set FLASK_DEBUG=0 for gunicorn, or use `make debug` or `make dev` instead."
    )

whole_response.install()
refusals.install()
boot.install(_settings)
stop.install()

wsgi_app = "app:create_app()"
bind = "127.0.0.1:8000"
workers = _settings.server.workers
worker_class = "flask_mayday.gunicorn.thread_worker.Worker"
threads = _settings.server.threads

# The app is built once, before the fork: a killed worker is back within milliseconds.
preload_app = True
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm"
# A thread in the master beside a fork can leave a locked logging lock in the child.
control_socket_disable = True

timeout = int(_settings.server.request_timeout) + 5
# Two seconds more than a request may take: the watchdog reports the one that hangs.
graceful_timeout = int(_settings.server.request_timeout) + 2
keepalive = 5
limit_request_line = 8190  # its most; nginx refuses what is longer
# nginx has made the address sure; the app's own ProxyFix reads it.
forwarded_allow_ips = ""

logger_class = "flask_mayday.gunicorn.gunicorn_log.Logger"
loglevel = _settings.log.level.lower()
accesslog = "-"

_logger = logging.getLogger("app")


def when_ready(server: Any) -> None:
    """Log the start, once, in the master."""
    del server
    _logger.info("Microblog startup")
    _logger.info(
        "Version %s, workers: %d, threads in each: %d, settings: %s",
        __version__,
        workers,
        threads,
        _settings,
    )


def pre_fork(server: Any, worker: Any) -> None:
    """Make what the worker will leave behind should it die."""
    del server
    deaths.before_fork(worker, worker.cfg.threads)
    # A worker that gets a signal before it has handlers of its own would use the master's, and
    # run on until it is killed: it gets the signal when it is ready for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)


def _listen_to_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)


os.register_at_fork(after_in_parent=_listen_to_signals)


def post_worker_init(worker: Any) -> None:
    """Watch the requests, and deliver what an earlier process has left, before the first one."""
    _listen_to_signals()
    deaths.after_fork(worker)
    courier = worker.wsgi.extensions["courier"]
    watchdog.start(worker, _settings.server.request_timeout, courier.outbox.flush)
    courier.ensure_running()


def child_exit(server: Any, worker: Any) -> None:
    """Report the worker's death, in the master, unless it was its time."""
    del server
    deaths.after_death(worker)


def worker_exit(server: Any, worker: Any) -> None:
    """Let the courier finish its mail."""
    del server
    app = getattr(worker, "wsgi", None)
    if app is not None:
        app.extensions["courier"].stop(COURIER_GRACE)


def on_exit(server: Any) -> None:
    """Log the end, once, in the master."""
    del server
    _logger.info("Microblog shutdown")
