"""Answers requests whose time limit passes before a thread is free to serve them.

A worker accepts only as many connections as it has threads. While all are busy, others wait in the
queue of the listening socket, and a second after REQUEST_TIMEOUT nginx answers them with its own
page, without a report. So a thread in each worker checks the queue. When connections have been
queued continuously for nearly REQUEST_TIMEOUT, the thread takes the oldest one. A header of its
request says when the wait began: if it is overdue, the middleware answers and reports it. The first
one that is not overdue stays in this worker, and is the next to be served.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from ..context import request_id
from ..context.waiting import HEADER, seconds_since
from .thread_worker import Worker

POLL_INTERVAL: Final = 0.25  # seconds
HEAD_BYTES: Final = 65536
START: Final = re.compile(rb"\r\n%s: *([^\r\n]*)" % HEADER.encode(), re.IGNORECASE)


class QueueWatch:
    """Watches the queue of one worker's listening sockets; a request may wait ``timeout`` s."""

    def __init__(self, worker: Worker, timeout: float) -> None:
        self.worker = worker
        self.timeout = timeout
        self._busy_since: float | None = None  # when the queue was first seen not empty
        self._held: tuple[Any, Future[Any]] | None = None

    def start(self) -> None:
        """Start the thread that watches."""
        threading.Thread(target=self._run, name="queue watch", daemon=True).start()

    def length(self) -> int:
        """Return the number of connections in the queue that no worker has accepted."""
        return sum(max(0, listener.get_backlog()) for listener in self.worker.sockets)

    def _run(self) -> None:
        while self.worker.alive:
            time.sleep(POLL_INTERVAL)
            self.look()

    def look(self) -> None:
        """Answer the overdue connections if the queue has not been empty for nearly ``timeout``.

        Nearly means two poll intervals less: a wait may begin up to one interval before it is seen,
        and the next look is one interval later.
        """
        now = time.monotonic()
        if self._held is None and not self.length():
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since >= self.timeout - 2 * POLL_INTERVAL:
            while self.worker.alive and self._answer_next():
                pass

    def _answer_next(self) -> bool:
        """Answer the oldest connection if it is overdue; return whether it was."""
        if self._held is not None:
            connection, waiting = self._held
            is_served = waiting.running() or waiting.done()
            if not is_served and not self._is_overdue(connection):
                return False
            self._held = None
            if is_served or not waiting.cancel():
                return True
            self.worker.uncount()
        else:
            connection = self.worker.take_from_queue()
            if connection is None:
                return False
            if not self._is_overdue(connection):
                self._held = connection, self.worker.hold(connection)
                return False
        try:
            self.worker.handle(connection)
        finally:
            request_id.forget()
        connection.close(graceful=True)
        return True

    def _is_overdue(self, connection: Any) -> bool:
        try:
            sent = connection.sock.recv(HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:  # nothing has arrived yet
            return False
        found = START.search(sent.partition(b"\r\n\r\n")[0])
        if found is None:
            return False
        return seconds_since(found[1].decode("latin-1"), self.timeout) >= self.timeout
