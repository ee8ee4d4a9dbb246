"""Passes the request id on to the threads that a request starts, for the log and reports.

A new thread inherits context variables only from Python 3.14 on, and there only with
``-X thread_inherit_context``, and an app cannot change the threads that a library starts. So
``Thread.start`` and ``ThreadPoolExecutor.submit`` are replaced. They pass on only the current
request, not all context variables: with Flask's contexts, threads would share a database session.

The exception of a thread-pool task goes to the caller of ``Future.result``. If it is never
retrieved, it is logged, as asyncio does for its tasks.
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
    """Make new threads and thread-pool tasks belong to the request that starts them."""
    global _start, _submit
    # If another library has replaced them too, our functions call that library's.
    if threading.Thread.start is not start:
        _start = threading.Thread.start
        threading.Thread.start = start  # type: ignore[assignment,method-assign]
    if ThreadPoolExecutor.submit is not submit:
        _submit = ThreadPoolExecutor.submit
        ThreadPoolExecutor.submit = submit  # type: ignore[assignment,method-assign]


def start(thread: threading.Thread) -> None:
    """Start ``thread`` for the current request, if there is one.

    The request stays the current one to the end of the thread, so that the record of an exception
    that ends it has the request id.
    """
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
    """Submit a task to ``pool`` that runs for the current request, or for none.

    The request is set for each task, because a pool's thread serves many requests in turn.
    """
    environ = request_id.current_environ()

    def run_for_request() -> Any:
        before = request_id.current_environ()
        request_id.resume(environ)
        try:
            return function(*args, **kwargs)
        finally:
            request_id.resume(before)

    # A thread that the pool starts for this task belongs to no request between its tasks.
    request_id.resume(None)
    try:
        future = _submit(pool, run_for_request)
    finally:
        request_id.resume(environ)
    # submit() makes the future itself and offers no way to choose its class.
    future.__class__ = _WatchedFuture
    future.environ = environ  # type: ignore[attr-defined]
    return future


def submit_without_request(
    pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any
) -> Future[Any]:
    """Submit a task to ``pool`` that runs for no request; its exception is not logged."""
    return _submit(pool, function, *args)


class _WatchedFuture(Future[Any]):
    """A future that logs its exception unless it was retrieved or the task was cancelled."""

    environ: Mapping[str, object] | None = None
    retrieved = False

    def result(self, timeout: float | None = None) -> Any:
        self.retrieved = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.retrieved = True
        return super().exception(timeout)

    def cancel(self) -> bool:
        is_cancelled = super().cancel()
        if is_cancelled:  # a task that is running goes on, and may fail
            self.retrieved = True
        return is_cancelled

    def __del__(self) -> None:
        if self.retrieved or not self.done():
            return
        error = super().exception()
        if error is not None:
            logger.error(
                "Thread-pool task exception was never retrieved",
                exc_info=error,
                extra={ENVIRON: self.environ},
            )
