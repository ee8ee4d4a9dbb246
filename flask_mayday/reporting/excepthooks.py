"""Logs exceptions that end a thread or the process, and those that cannot propagate."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType

logger = logging.getLogger(__name__)
_previous_excepthook = sys.excepthook


def install(before_exit: Callable[[], None]) -> None:
    """Log, and so report, unhandled exceptions; call ``before_exit`` when the process exits."""
    global _previous_excepthook
    if sys.excepthook is not end_of_process:
        _previous_excepthook = sys.excepthook
    sys.excepthook = end_of_process
    threading.excepthook = end_of_thread
    sys.unraisablehook = ignored
    atexit.register(before_exit)


def remove(before_exit: Callable[[], None]) -> None:
    """Undo :func:`install`: restore the previous ``sys.excepthook``, and Python's other hooks."""
    sys.unraisablehook = sys.__unraisablehook__
    sys.excepthook = _previous_excepthook
    threading.excepthook = threading.__excepthook__
    atexit.unregister(before_exit)


def end_of_process(
    kind: type[BaseException], exception: BaseException, trace: TracebackType | None
) -> None:
    """Log the exception that ends the process, then let the previous hook print it.

    At an interactive prompt the process goes on, and the exception is only printed.
    """
    interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
    try:
        if not interactive and not issubclass(kind, KeyboardInterrupt):
            information = (kind, exception, trace)
            logger.critical("Unhandled exception ends the process", exc_info=information)
    finally:
        _previous_excepthook(kind, exception, trace)


def end_of_thread(ending: threading.ExceptHookArgs) -> None:
    """Log the exception that ends a thread; ``SystemExit`` ends one silently."""
    if ending.exc_value is None or issubclass(ending.exc_type, SystemExit):
        return
    name = ending.thread.name if ending.thread is not None else "unknown"
    information = (ending.exc_type, ending.exc_value, ending.exc_traceback)
    logger.error("Unhandled exception ends the thread %s", name, exc_info=information)


def ignored(failure: sys.UnraisableHookArgs) -> None:
    """Log an exception that cannot propagate, such as one in a destructor."""
    if issubclass(failure.exc_type, SystemExit):  # gunicorn ends a worker with it
        return
    # Not "or": an exception may be false.
    value = failure.exc_type() if failure.exc_value is None else failure.exc_value
    # Not the object's repr: that may show secrets, and the object is half destroyed.
    place = getattr(failure.object, "__qualname__", type(failure.object).__qualname__)
    information = (failure.exc_type, value, failure.exc_traceback)
    logger.error("Exception ignored in %s", place, exc_info=information)
