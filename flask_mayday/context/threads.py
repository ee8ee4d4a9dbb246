"""Threads that a request starts go on with its id, in the log and in reports.

Context variables do not reach a new thread before Python 3.14, nor then unless the interpreter is
told so (``-X thread_inherit_context``), and who starts the thread is often a library: so it is
done where every thread starts, and for this one variable only. All of them would hand Flask's
contexts, and with them the request's database session, to a second thread.

An exception in a task of a thread pool belongs to whoever asks for its outcome. Where nobody ever
does, it is logged, as asyncio logs that of a task.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from . import request_id
from .record_fields import ENVIRON

logger = logging.getLogger(__name__)
_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit


def install() -> None:
    """Let threads and the tasks of thread pools have the request of whoever starts them."""
    threading.Thread.start = start  # type: ignore[assignment,method-assign]
    ThreadPoolExecutor.submit = submit  # type: ignore[assignment,method-assign]


def start(thread: threading.Thread) -> None:
    """Start a thread; its id stays to the end, for the record of what ends the thread."""
    environ = request_id.current_environ()
    if environ is not None:
        run = thread.run

        def run_for_request() -> None:
            request_id.resume(environ)
            run()

        thread.run = run_for_request  # type: ignore[method-assign]
    _start(thread)


def submit(
    pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Future[Any]:
    """Give a task to a pool, whose threads serve one request after the other, or none."""
    environ = request_id.current_environ()

    def run_for_request() -> Any:
        before = request_id.current_environ()
        request_id.resume(environ)
        try:
            return function(*args, **kwargs)
        finally:
            request_id.resume(before)

    future = _submit(pool, run_for_request)
    future.__class__ = _Watched
    future.environ = environ  # type: ignore[attr-defined]
    return future


class _Watched(Future[Any]):
    """A future that knows whether anybody has asked for its outcome, or given it up."""

    environ: Mapping[str, object] | None = None
    asked = False

    def result(self, timeout: float | None = None) -> Any:
        self.asked = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.asked = True
        return super().exception(timeout)

    def cancel(self) -> bool:
        self.asked = True
        return super().cancel()

    def __del__(self) -> None:
        if self.asked or not self.done():
            return
        error = super().exception()
        if error is not None:
            logger.error(
                "Nobody has asked what became of a task in a thread pool",
                exc_info=error,
                extra={ENVIRON: self.environ},
            )
