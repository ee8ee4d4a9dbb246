"""Reports what no handler sees: exceptions that end a thread or the process."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from types import TracebackType

from .courier import Courier

logger = logging.getLogger(__name__)


def install(courier: Courier) -> None:
    """Log, and so report, what ends a thread or this process; deliver it before the end."""
    sys.excepthook = end_of_process
    threading.excepthook = end_of_thread
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


def remove(courier: Courier) -> None:
    """Give the interpreter its own hooks back."""
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    atexit.unregister(courier.deliver_before_exit)
