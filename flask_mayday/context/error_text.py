"""The text of an exception, within a time limit: its ``__str__`` may run any code of the app."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from types import WrapperDescriptorType
from typing import Final

SECONDS: Final = 0.5  # that __str__ may take
THREADS: Final = 8  # that may run a slow __str__ at a time, in one process
MAX_CHAIN: Final = 30  # exceptions connected by cause or context
PLAIN: Final = (str, bytes, int, float, bool, type(None))
SUBSTITUTE: Final = "_mayday_no_message"  # the attribute that keeps what _try_text has returned
TOO_SLOW: Final = f"<no message: __str__ takes longer than {SECONDS:g} s>"
TOO_MANY: Final = "<no message: too many slow __str__ are running>"

_threads = threading.BoundedSemaphore(THREADS)


def exact(value: object) -> str:
    """Return ``str(value)`` as a real ``str``: a subclass of it may do anything."""
    return str.__str__(str(value))


def message_of_error(error: BaseException) -> str:
    """Return the exception's own message, or why it has none. Never raises."""
    try:
        return _substitute(error) or exact(error)
    # BaseException: __str__ is code of any kind, and may exit as well as raise.
    except BaseException as failure:
        return f"<no message: __str__ raised {type(failure).__name__}>"


def is_slow(error: BaseException) -> bool:
    """Return whether the exception's ``__str__`` must not be called: it takes too long.

    ``__str__`` is tried once for each exception, and again if too many others were running.
    """
    return bool(_substitute(error))


def _substitute(error: BaseException) -> str:
    """Return the text that replaces a message that takes too long, or an empty string."""
    if type(type(error).__str__) is WrapperDescriptorType and all(
        type(argument) in PLAIN for argument in error.args
    ):
        return ""  # Python's own
    known = vars(error).get(SUBSTITUTE)
    if known is None:
        known = _try_text(error)
        if known != TOO_MANY:
            with suppress(Exception):
                BaseException.__setattr__(error, SUBSTITUTE, known)
    return str(known)


def traceback_if_slow(error: BaseException) -> str:
    """Return a traceback without the messages that take too long; empty if none does."""
    chain = list(chain_of(error))
    if not any(is_slow(one) for one in chain):
        return ""
    return "\n".join(map(_without_message, reversed(chain)))


def _try_text(error: BaseException) -> str:
    """Call ``__str__`` in a thread, in a copy of this context; return what replaces its text."""
    if not _threads.acquire(blocking=False):
        return TOO_MANY
    done, context = threading.Event(), copy_context()

    def call() -> None:
        try:
            with suppress(BaseException):
                context.run(exact, error)
        finally:
            done.set()
            _threads.release()

    try:
        threading.Thread(target=call, name="exception text", daemon=True).start()
    except RuntimeError:  # no thread can be started
        _threads.release()
        return ""
    return "" if done.wait(SECONDS) else TOO_SLOW


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its cause or else its context, and so on: at most 30 of them."""
    for _ in range(MAX_CHAIN):
        if error is None:
            return
        yield error
        # Not "or": an exception may be false.
        error = error.__context__ if error.__cause__ is None else error.__cause__


def _without_message(error: BaseException) -> str:
    kind = type(error)
    frames = "".join(traceback.format_tb(error.__traceback__))
    name = f"{kind.__module__}.{kind.__qualname__}: {message_of_error(error)}"
    return f"Traceback (most recent call last):\n{frames}{name}"
