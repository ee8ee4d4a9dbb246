"""gunicorn's threaded worker, which leaves no caller waiting when it is told to stop.

gunicorn's own stops accepting but keeps its sockets open until its last request is done. The
kernel goes on to take connections meanwhile, which nobody serves, and which nginx may not ask
another container for when they are POSTs.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves who is in the queue, then closes the door, and then finishes its requests."""

    alive: bool
    nr_conns: int
    sockets: list[Any]

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting; stop for good where the worker is to end."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                self._serve_queue(listener)
                listener.close()

    def _serve_queue(self, listener: Any) -> None:
        served = -1
        while served != self.nr_conns:
            served = self.nr_conns
            self.accept(listener)
