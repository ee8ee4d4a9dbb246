"""gunicorn's threaded worker, which takes no visitor whom it cannot serve, and cuts none off.

gunicorn's own takes a thousand connections, whether or not it has a thread for them: visitors wait
for one that hangs, beside a worker that has nothing to do.

It stops accepting at its end but keeps its sockets open until its last request is done. The
kernel goes on to take connections meanwhile, which nobody serves, and which nginx may not ask
another container for when they are POSTs.

It also closes a connection on which a large body has not been read, after a 404 for instance.
nginx, which is still sending that body, then has no answer but a 502.
"""

from __future__ import annotations

import signal
import time
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

from ..context.in_flight import Table

UNREAD_WITHIN: Final = 5.0  # seconds
UNREAD_MAXIMUM: Final = 1 << 20  # bytes


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves as many as it has threads; at its end all in the queue, and then no more."""

    alive: bool
    in_flight: Table
    nr_conns: int
    sockets: list[Any]
    _accepting: bool
    _retires = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.worker_connections = self.cfg.threads
        self.max_keepalived = 0  # nginx opens a connection for each request

    def retire(self) -> None:
        """Accept no more, and finish what has begun; to be called from another thread.

        Who waits in the queue is left to the other workers and to the one that comes next.
        """
        self._retires = True
        self.handle_exit(signal.SIGTERM, None)

    def serves_at_most(self, connections: int) -> bool:
        """Tell whether it accepts no more and has no more than so many connections."""
        return not self._accepting and self.nr_conns <= connections

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting; stop for good where the worker is to end."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                if not self._retires:
                    self._serve_queue(listener)
                listener.close()

    def _serve_queue(self, listener: Any) -> None:
        served = -1
        while served != self.nr_conns:
            served = self.nr_conns
            self.accept(listener)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        deadline = time.monotonic() + UNREAD_WITHIN
        read = conn.parser.finish_body(deadline=deadline, max_bytes=UNREAD_MAXIMUM)
        return keepalive and bool(read)
