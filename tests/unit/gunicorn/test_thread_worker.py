"""The threaded worker: what it lacks when it retires, and connections that it holds."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from flask_mayday.context import request_id
from flask_mayday.gunicorn.queue_watch import QueueWatch
from flask_mayday.gunicorn.thread_worker import Worker


class Connection:
    """A connection that notes which thread has closed it."""

    closed_by: threading.Thread | None = None

    def close(self, graceful: bool) -> None:
        assert graceful
        self.closed_by = threading.current_thread()


class MainLoop:
    """What gunicorn's main loop does for other threads, as soon as :meth:`run` is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def defer(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append((function, *arguments))

    def run(self) -> None:
        while self.calls:
            function, *arguments = self.calls.pop(0)
            function(*arguments)


@pytest.fixture
def worker() -> Iterator[Any]:
    """Return a worker with one thread, whose requests end without keep-alive."""
    made: Any = Worker.__new__(Worker)
    made._guarded_listeners = {"listener": "listener"}
    made.nr_conns, made.method_queue = 0, MainLoop()
    made.handle = lambda connection: False
    with ThreadPoolExecutor(1) as made.tpool:
        yield made


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EMFILE, "file descriptors"),
        (errno.ENFILE, "file descriptors"),
        (errno.ENOMEM, "memory"),
        (errno.ENOBUFS, "memory"),
    ],
)
def test_a_worker_that_cannot_accept_says_what_it_lacks(
    worker: Any, monkeypatch: pytest.MonkeyPatch, code: int, kind: str
) -> None:
    def fail(self: object, listener: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(ThreadWorker, "accept", fail)
    said: list[tuple[str, str]] = []
    worker.replace = lambda *reason: said.append(reason)
    worker.accept("listener")
    assert said == [(f"cannot accept connections: {os.strerror(code)}", kind)]


def test_a_held_connection_is_closed_by_the_thread_that_has_served_it(worker: Any) -> None:
    connection = Connection()
    worker.hold(connection).result(60)
    worker.method_queue.run()
    assert connection.closed_by not in (None, threading.current_thread())
    assert worker.nr_conns == 0


def test_a_held_connection_can_be_cancelled_while_all_threads_are_busy(worker: Any) -> None:
    connection, free = Connection(), threading.Event()
    worker.tpool.submit(free.wait, 60)
    future = worker.hold(connection)
    worker.method_queue.run()
    assert worker.nr_conns == 1
    assert future.cancel()
    worker.uncount()
    free.set()
    worker.tpool.shutdown()
    worker.method_queue.run()
    assert (connection.closed_by, worker.nr_conns) == (None, 0)


def test_the_queue_watch_belongs_to_no_request_after_it_has_answered_one(worker: Any) -> None:
    watch = QueueWatch(worker, 0)
    worker.take_from_queue = Connection
    worker.handle = lambda connection: request_id.begin({}, trusted=False)
    watch._is_overdue = lambda connection: True  # type: ignore[method-assign]
    assert watch._answer_next()
    assert request_id.current() is None
