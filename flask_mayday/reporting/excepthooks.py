"""Reports what no handler sees: what ends a thread or the process, what is kept or ignored."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from types import TracebackType

from ..courier.courier import Courier

logger = logging.getLogger(__name__)
_call_handlers = logging.Logger.callHandlers


def install(courier: Courier) -> None:
    """Log, and so report, what ends a thread or this process; deliver it before the end."""
    sys.excepthook = end_of_process
    threading.excepthook = end_of_thread
    sys.unraisablehook = ignored
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign,assignment]
    atexit.register(courier.deliver_before_exit)


def end_of_process(
    kind: type[BaseException], exception: BaseException, trace: TracebackType | None
) -> None:
    """Log the exception that ends the process: a command, a migration, a failed start."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exception, trace)
        return
    logger.critical("Unhandled exception ends the process", exc_info=(kind, exception, trace))


def end_of_thread(ending: threading.ExceptHookArgs) -> None:
    """Log the exception that ends a thread."""
    if ending.exc_value is None or issubclass(ending.exc_type, SystemExit):
        return
    name = ending.thread.name if ending.thread is not None else "unknown"
    information = (ending.exc_type, ending.exc_value, ending.exc_traceback)
    logger.error("Unhandled exception ends the thread %s", name, exc_info=information)


def ignored(failure: sys.UnraisableHookArgs) -> None:
    """Log an exception that cannot go anywhere, as one in a destructor."""
    if issubclass(failure.exc_type, SystemExit):  # gunicorn ends a worker that waits for a thread
        return
    value = failure.exc_value or failure.exc_type()
    # Only a name: the object may hold secrets, and is being destroyed.
    place = getattr(failure.object, "__qualname__", type(failure.object).__qualname__)
    information = (failure.exc_type, value, failure.exc_traceback)
    logger.error("Exception ignored in %s", place, exc_info=information)


def call_handlers(log: logging.Logger, record: logging.LogRecord) -> None:
    """Hand an error to the root logger's handlers too where its own logger keeps it to itself."""
    _call_handlers(log, record)
    if record.levelno >= logging.ERROR and _keeps_to_itself(log):
        _call_handlers(logging.getLogger(), record)


def _keeps_to_itself(log: logging.Logger) -> bool:
    while log.parent is not None:
        if not log.propagate:
            return True
        log = log.parent
    return False


def remove(courier: Courier) -> None:
    """Give the interpreter its own hooks back."""
    logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]
    sys.unraisablehook = sys.__unraisablehook__
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    atexit.unregister(courier.deliver_before_exit)
