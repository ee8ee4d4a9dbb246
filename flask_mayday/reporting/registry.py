"""The pipelines of this process, and the choice of the one that a log record goes to.

A handler on the root logger would not do. It silences the console output of Flask and Werkzeug,
makes a later ``logging.basicConfig()`` do nothing, and is removed by ``dictConfig``,
``fileConfig`` and ``basicConfig(force=True)``. So ``Logger.callHandlers`` is replaced, which every
enabled logger calls. Handlers, levels and propagation stay as the app has set them.
"""

from __future__ import annotations

import logging
import threading
import weakref
from contextlib import suppress
from typing import Final

from flask import current_app, has_app_context

from ..context import record_fields, threads
from ..context.error_text import chain_of
from . import excepthooks
from .pipeline import Pipeline

# In the WSGI environment: the pipeline of the app that serves the request.
PIPELINE: Final = "flask_mayday.pipeline"
OWN_LOGGERS: Final = ("flask_mayday", "gunicorn")

logger = logging.getLogger(__name__)
_own_loggers: list[logging.Logger] = []
_pipelines: list[weakref.ref[Pipeline]] = []
_lock = threading.Lock()
_call_handlers = logging.Logger.callHandlers


def register(pipeline: Pipeline) -> None:
    """Send records to ``pipeline`` from now on; the registry does not keep it alive."""
    with _lock:
        _pipelines.append(weakref.ref(pipeline, _forget))
        if len(_pipelines) == 1:
            _install()


def unregister(pipeline: Pipeline) -> None:
    """Send no more records to ``pipeline``."""
    with _lock:
        _pipelines[:] = [one for one in _pipelines if one() not in (None, pipeline)]
        if not _pipelines:
            _uninstall()


def pipelines() -> list[Pipeline]:
    """Return the pipelines of this process, the oldest first."""
    return [pipeline for one in _pipelines if (pipeline := one()) is not None]


def pipeline_of(record: logging.LogRecord) -> Pipeline | None:
    """Return the pipeline that a record belongs to.

    This is the pipeline of its request, or of the current app context. Without one, it is that of
    the app whose code the record comes from, else the first.
    """
    environ = record_fields.environ_of(record)
    if environ is not None and isinstance(found := environ.get(PIPELINE), Pipeline):
        return found
    known = pipelines()
    if len(known) > 1:
        if has_app_context() and "mayday" in current_app.extensions:
            current: Pipeline = current_app.extensions["mayday"]
            return current
        return next((one for one in known if one.is_own(record)), known[0])
    return known[0] if known else None


def lower_root_level(level: str) -> None:
    """Lower the root logger to ``level``, unless its level differs from Python's ``WARNING``."""
    root, wanted = logging.getLogger(), logging.getLevelNamesMapping()[level]
    if root.level == logging.WARNING and wanted < root.level:
        root.setLevel(wanted)


def _forget(reference: weakref.ref[Pipeline]) -> None:
    # Called by the garbage collector, in any thread: without the lock, and without uninstalling.
    if reference in _pipelines:
        _pipelines.remove(reference)


def _install() -> None:
    global _call_handlers
    threads.install()
    _own_loggers[:] = [
        log
        for name, log in logging.root.manager.loggerDict.items()
        if isinstance(log, logging.Logger) and name.partition(".")[0] in OWN_LOGGERS
    ]
    if logging.Logger.callHandlers is not call_handlers:
        _call_handlers = logging.Logger.callHandlers  # perhaps another library's
        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign,assignment]
    excepthooks.install(deliver_before_exit)


def _uninstall() -> None:
    if logging.Logger.callHandlers is call_handlers:
        logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]
    excepthooks.remove(deliver_before_exit)


def deliver_before_exit() -> None:
    """Deliver the reports of this process for which no courier is running. Never raises."""
    for pipeline in pipelines():
        courier = pipeline.courier
        try:
            courier.deliver_before_exit()
        except Exception as error:
            folder = courier.outbox.folder
            logger.warning("Not delivered from %s before the exit: %s", folder, error)


def call_handlers(log: logging.Logger, record: logging.LogRecord) -> None:
    """Pass ``record`` to its pipeline, then call the handlers of ``log`` as usual.

    The pipeline comes first because a handler may hang, or wait for a slow ``__str__``.
    """
    hide_parameters(record)
    try:
        pipeline = pipeline_of(record)
        if pipeline is not None:
            pipeline.handle(record)
    finally:
        _call_handlers(log, record)


def hide_parameters(record: logging.LogRecord) -> None:
    """Remove SQL parameters from the text of SQLAlchemy's exceptions, for every engine.

    They hold what visitors have typed, and password hashes.
    """
    with suppress(Exception):  # an exception's attributes are code of the app, and may raise
        for error in chain_of(record_fields.error_of(record)):
            with suppress(Exception):  # what it was raised from has parameters of its own
                if getattr(error, "hide_parameters", None) is False:
                    error.hide_parameters = True  # type: ignore[attr-defined]


def enable_own_loggers() -> None:
    """Enable our loggers and gunicorn's again if ``dictConfig`` or ``fileConfig`` disabled them.

    Both disable all loggers that they do not name, by default. The app's loggers stay as they are.
    """
    for log in _own_loggers:
        if log.disabled:
            log.disabled = False
