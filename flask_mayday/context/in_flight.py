"""The requests that a worker is serving, in memory that outlives the worker.

The master makes the table in shared memory before the fork. When a worker is killed, the master
reads there which requests were interrupted. Recording a request takes no system call.
"""

from __future__ import annotations

import mmap
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from . import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SLOT_BYTES: Final = 1024  # for each thread
LENGTH_BYTES: Final = 2  # at the start of a slot: the length of its entry, 0 without one
RESPONDING: Final = LENGTH_BYTES  # offset of a byte: 1 if the response is being sent
REPORTED: Final = RESPONDING + 1  # offset of a byte: 1 if the request was reported
HEADER_BYTES: Final = REPORTED + 1
# Flags of the whole worker, in the last bytes of the table:
HAS_SERVED: Final = -2
END_REPORTED: Final = -1
HEALTH_PATHS: Final = frozenset({"/health/live", "/health/ready"})  # not requested by visitors


class RequestInProgress(NamedTuple):
    """A request that a thread of this process is serving.

    ``since`` is when its time limit began to count, in seconds of :func:`time.monotonic`, and
    ``waited`` how many seconds later a thread began to serve it.
    """

    slot: int
    thread: int
    since: float
    environ: WSGIEnvironment
    waited: float = 0.0

    @property
    def age(self) -> float:
        """How many seconds the visitor has waited."""
        return time.monotonic() - self.since

    @property
    def work(self) -> float:
        """How many seconds a thread has been serving it."""
        return self.age - self.waited


@dataclass(frozen=True, slots=True)
class InterruptedRequest:
    """A request that a worker was serving when it died.

    ``path`` is that of the WSGI environment. ``responding``: its response was being sent.
    ``reported``: it has a report of its own already.
    """

    request_id: str
    method: str
    path: str
    thread: int
    responding: bool
    reported: bool


class RequestTable:
    """The requests of one worker, with one slot for each of its ``slots`` threads."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.memory = mmap.mmap(-1, slots * SLOT_BYTES + 2)  # two flags of the worker at the end
        self.in_progress: dict[int, RequestInProgress] = {}
        self._slot = threading.local()
        self._assigned = 0
        self._lock = threading.Lock()

    def begin(self, environ: WSGIEnvironment, waited: float = 0.0) -> None:
        """Record that this thread begins to serve the request of ``environ``.

        ``waited`` is how many seconds the request has waited for the thread.
        """
        self.memory[HAS_SERVED] = 1
        slot = self._slot_of_thread()
        if slot is None:
            return
        start, thread = slot * SLOT_BYTES, threading.get_ident()
        with self._lock:
            since = time.monotonic() - waited
            self.in_progress[slot] = RequestInProgress(slot, thread, since, environ, waited)
            self.memory[start + RESPONDING : start + HEADER_BYTES] = bytes(
                HEADER_BYTES - RESPONDING
            )
        method, path = environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")
        # Fits in a slot, even with four bytes for each character. Only the path can have newlines.
        entry = f"{environ[request_id.ENVIRON_KEY]}\n{thread}\n{method[:20]}\n{path[:200]}"
        data = entry.encode("utf-8", "surrogatepass")
        # The length comes last: until then, the entry may be incomplete.
        self.memory[start + HEADER_BYTES : start + HEADER_BYTES + len(data)] = data
        self.memory[start : start + LENGTH_BYTES] = len(data).to_bytes(LENGTH_BYTES, "big")

    def mark_responding(self) -> None:
        """Record that this thread is sending a part of the response to its request.

        This restarts the time limit of the request: a response that still yields data is not hung.
        """
        slot = getattr(self._slot, "number", None)
        if slot is None:
            return
        self.memory[slot * SLOT_BYTES + RESPONDING] = 1
        with self._lock:
            request = self.in_progress.get(slot)
            if request is not None and not self.is_reported(request):
                self.in_progress[slot] = RequestInProgress(
                    slot, request.thread, time.monotonic(), request.environ
                )

    def mark_reported(self, in_progress: RequestInProgress) -> None:
        """Record that a request was reported; does nothing if it has ended meanwhile."""
        with self._lock:
            if self.in_progress.get(in_progress.slot) is in_progress:
                self.memory[in_progress.slot * SLOT_BYTES + REPORTED] = 1

    def is_reported(self, in_progress: RequestInProgress) -> bool:
        """Return whether a request in progress has been reported."""
        return self.memory[in_progress.slot * SLOT_BYTES + REPORTED] == 1

    def end(self) -> None:
        """Record that this thread has finished its request."""
        slot = getattr(self._slot, "number", None)
        if slot is not None:
            self.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + LENGTH_BYTES] = bytes(LENGTH_BYTES)
            self.in_progress.pop(slot, None)

    def interrupted(self) -> list[InterruptedRequest]:
        """Return, in the master, the requests that the worker was serving when it died."""
        found = []
        for start in range(0, self.slots * SLOT_BYTES, SLOT_BYTES):
            length = int.from_bytes(self.memory[start : start + LENGTH_BYTES], "big")
            if 0 < length <= SLOT_BYTES - HEADER_BYTES:
                data = self.memory[start + HEADER_BYTES : start + HEADER_BYTES + length]
                entry = data.decode("utf-8", "surrogatepass")
                identifier, thread, method, path = entry.split("\n", 3)
                responding, reported = self.memory[start + RESPONDING : start + HEADER_BYTES]
                found.append(
                    InterruptedRequest(
                        identifier, method, path, int(thread), bool(responding), bool(reported)
                    )
                )
        return found

    def mark_end_reported(self) -> None:
        """Record, in the worker, that it has reported why it ends."""
        self.memory[END_REPORTED] = 1

    @property
    def end_is_reported(self) -> bool:
        """Whether the worker itself has reported why it ended."""
        return self.memory[END_REPORTED] == 1

    @property
    def has_served(self) -> bool:
        """Whether the worker has begun to serve a request, which shows that it has booted."""
        return self.memory[HAS_SERVED] == 1

    def close(self) -> None:
        """Release the shared memory."""
        self.memory.close()

    def _slot_of_thread(self) -> int | None:
        number = getattr(self._slot, "number", None)
        if number is None:
            with self._lock:
                if self._assigned == self.slots:
                    return None
                number, self._assigned = self._assigned, self._assigned + 1
            self._slot.number = number
        return int(number)


_table: RequestTable | None = None


def use(table: RequestTable | None) -> None:
    """Record the requests of this process in ``table`` from now on."""
    global _table
    _table = table


def begin(environ: WSGIEnvironment, waited: float = 0.0) -> None:
    """Record that this thread begins to serve a request.

    ``waited`` is the time, in seconds, that the request has waited for the thread. Does nothing
    outside of a worker.
    """
    if _table is not None:
        _table.begin(environ, waited)


def mark_responding() -> None:
    """Record that this thread is sending its response; does nothing outside of a worker."""
    if _table is not None:
        _table.mark_responding()


def end() -> None:
    """Record that this thread has finished its request; does nothing outside of a worker."""
    if _table is not None:
        _table.end()
