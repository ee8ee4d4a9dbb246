"""gunicorn's hooks, from the start of the server and the fork of a worker to their ends."""

from __future__ import annotations

import gc
import logging
import signal
from typing import Any, Final

from .. import database
from ..context.waiting import overdue_requests
from ..courier.mail_warnings import mail_warnings
from ..spool.starts import STOP, note_server_event
from . import watchdog, worker_deaths, worker_metrics
from .loading import flask_apps_in
from .queue_watch import QueueWatch
from .server import pipeline
from .thread_worker import Worker

BLOCKED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
COURIER_GRACE: Final = 5.0  # seconds that a stopping worker waits for the mail it is sending
NAMES: Final = (
    "when_ready",
    "pre_fork",
    "post_worker_init",
    "child_exit",
    "worker_exit",
    "on_exit",
)

logger = logging.getLogger("flask_mayday")


def when_ready(server: Any) -> None:
    """Log, in the master, that the server has started, and with which settings."""
    current = pipeline()
    if current is None:
        return
    app = current.settings.app
    logger.info("%s startup", app.name)
    logger.info(
        "Release %s, workers: %d, threads in each: %d, settings: %s",
        app.release or "unknown",
        server.cfg.workers,
        server.cfg.threads,
        current.settings,
    )
    for warning in mail_warnings(current.settings.mail):
        logger.warning(warning)
    if current.settings.server.metrics and not worker_metrics.is_on():
        logger.warning(
            "METRICS is on in app.config only, so each worker counts for itself: set METRICS=1 in "
            "the environment, which gunicorn reads before the app"
        )
    if not issubclass(server.cfg.worker_class, Worker):
        logger.warning(
            "worker_class is %s, so REQUEST_TIMEOUT and WEB_PEERS have no effect: hung requests "
            "are not reported, and connections are not checked. Remove the setting to change that",
            server.cfg.worker_class_str,
        )
    for name in _unconnected(server.cfg):
        logger.error(
            "gunicorn's hook %s is not connected: call flask_mayday.gunicorn.%s from yours. "
            "Otherwise workers may not stop when asked to, their deaths may not be reported, and "
            "reports may not be delivered",
            name,
            name,
        )


def _unconnected(cfg: Any) -> list[str]:
    """Return the names of the hooks that are not ours and do not call ours."""
    found = []
    for name in NAMES:
        hook = getattr(cfg, name)
        names = getattr(getattr(hook, "__code__", None), "co_names", ())
        if hook is not globals()[name] and name not in names:
            found.append(name)
    return found


def pre_fork(server: Any, worker: Any) -> None:
    """Prepare, in the master, what is needed to report the death of ``worker``."""
    del server
    worker_metrics.count_start()
    worker_deaths.before_fork(worker, worker.cfg.threads)
    # The worker's garbage collector then skips the master's objects, whose memory stays shared.
    gc.freeze()
    # A new worker still has the master's signal handlers, which would not end it, so its signals
    # are blocked until it is ready.
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)


def unblock_signals() -> None:
    """Unblock the signals that :func:`pre_fork` has blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)


def post_worker_init(worker: Any) -> None:
    """Start the watchdog and the courier in a worker, before its first request.

    The courier also delivers reports of processes that have ended.
    """
    unblock_signals()
    worker_deaths.after_fork(worker)
    for app in flask_apps_in(worker.wsgi):
        database.forget_connections(app)
    current = pipeline()
    if current is None:
        return
    if isinstance(worker, Worker):
        limits = current.settings.server.limits
        watchdog.start(worker, limits, current.reports.flush)
        queue_watch = QueueWatch(worker, limits.request)
        overdue_requests.queue_length = queue_watch.length
        if current.settings.trusted_proxies:
            queue_watch.start()
    current.ensure_delivery()


def child_exit(server: Any, worker: Any) -> None:
    """Report, in the master, the death of ``worker``, unless it ended normally."""
    del server
    worker_deaths.after_death(worker)
    worker_metrics.merge()


def worker_exit(server: Any, worker: Any) -> None:
    """Let the courier of a stopping worker finish the mail that it is sending."""
    del server, worker
    current = pipeline()
    if current is not None:
        current.courier.stop(COURIER_GRACE)


def on_exit(server: Any) -> None:
    """Log, in the master, that the server has stopped."""
    if server.reexec_pid:
        worker_metrics.keep_files()
    current = pipeline()
    if current is not None:
        logger.info("%s shutdown", current.settings.app.name)
        if not worker_deaths.server_has_failed():
            note_server_event(current.settings.spool.folder, STOP)
