"""gunicorn's threaded worker with three changes, so that connections do not wait or break.

It accepts only as many connections as it has threads. gunicorn's own accepts a thousand: they
would wait for a thread that hangs while another worker is idle.

It closes its listening sockets when it stops accepting. gunicorn's own keeps them open until its
last request is done. Meanwhile the kernel would queue connections that are never served, and nginx
would not send a POST among them to another container.

It reads the rest of a large body that the app has not read, after a 404 for instance. Otherwise
the connection breaks while nginx is still sending, and the visitor gets a 502.
"""

from __future__ import annotations

import signal
import time
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

from ..context.in_flight import RequestTable

BODY_TIMEOUT: Final = 5.0  # seconds to read the rest of a body
BODY_BYTES: Final = 1 << 20  # of the rest of a body


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves one connection per thread; when it stops, it serves those that are queued first."""

    alive: bool
    in_flight: RequestTable
    nr_conns: int
    sockets: list[Any]
    _accepting: bool
    _is_retiring = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.worker_connections = self.cfg.threads
        self.max_keepalived = 0  # nginx opens a connection for each request

    def retire(self) -> None:
        """Accept no more connections and finish the requests in progress; callable from any thread.

        Queued connections are left to the other workers and to the replacement of this one.
        """
        self._is_retiring = True
        self.handle_exit(signal.SIGTERM, None)

    def has_at_most(self, connections: int) -> bool:
        """Return whether it has stopped accepting and has at most this many connections."""
        return not self._accepting and self.nr_conns <= connections

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting; close the listening sockets if the worker is ending."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                if not self._is_retiring:
                    self._serve_queue(listener)
                listener.close()

    def _serve_queue(self, listener: Any) -> None:
        served = -1
        while served != self.nr_conns:
            served = self.nr_conns
            self.accept(listener)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        deadline = time.monotonic() + BODY_TIMEOUT
        read = conn.parser.finish_body(deadline=deadline, max_bytes=BODY_BYTES)
        return keepalive and bool(read)
