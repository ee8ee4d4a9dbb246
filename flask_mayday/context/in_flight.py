"""The requests that a worker serves right now, in memory that outlives the worker.

The table is shared memory made by the master before the fork: a worker that is killed in the
middle of a request leaves behind whose request it was, without a system call a request.
"""

from __future__ import annotations

import json
import mmap
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SLOT: Final = 1024  # bytes
LENGTH: Final = 2  # bytes before each entry
ANSWERED: Final = LENGTH  # the byte that says whether the answer is on its way
TOLD: Final = ANSWERED + 1  # the byte that says whether the request was reported
HEAD: Final = TOLD + 1
HEALTH: Final = frozenset({"/health/live", "/health/ready"})  # paths that no visitor asks for


@dataclass(frozen=True, slots=True)
class Serving:
    """A request that a thread of this process serves; ``since`` is on the monotonic clock."""

    slot: int
    thread: int
    since: float
    environ: WSGIEnvironment


@dataclass(frozen=True, slots=True)
class Left:
    """A request that a worker has left behind.

    ``answered``: its answer was on its way. ``told``: it was reported itself.
    """

    request_id: str
    method: str
    path: str
    thread: int
    answered: bool
    told: bool


class Table:
    """One slot for each thread of a worker."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.memory = mmap.mmap(-1, slots * SLOT + 1)  # and a byte for what the worker has told
        self.serving: dict[int, Serving] = {}
        self._slot = threading.local()
        self._assigned = 0
        self._lock = threading.Lock()

    def begin(self, environ: WSGIEnvironment) -> None:
        """Note the request that this thread begins with."""
        slot = self._slot_of_thread()
        if slot is None:
            return
        start, thread = slot * SLOT, threading.get_ident()
        with self._lock:
            self.serving[slot] = Serving(slot, thread, time.monotonic(), environ)
            self.memory[start + ANSWERED : start + HEAD] = bytes(HEAD - ANSWERED)
        entry = {
            "request_id": environ[request_id.ENVIRON_KEY],
            "method": environ.get("REQUEST_METHOD", ""),
            "path": environ.get("PATH_INFO", "")[:200],
            "thread": thread,
        }
        data = json.dumps(entry).encode()
        if len(data) > SLOT - HEAD:
            data = json.dumps({**entry, "path": "(too long)"}).encode()
        # The length last: an entry counts when it is whole.
        self.memory[start + HEAD : start + HEAD + len(data)] = data
        self.memory[start : start + LENGTH] = len(data).to_bytes(LENGTH, "big")

    def answer(self) -> None:
        """Note that this thread sends its answer: its visitor may have it, and ask anew."""
        slot = getattr(self._slot, "number", None)
        if slot is not None:
            self.memory[slot * SLOT + ANSWERED] = 1

    def tell(self, serving: Serving) -> None:
        """Note that a request was reported, unless it has ended meanwhile."""
        with self._lock:
            if self.serving.get(serving.slot) is serving:
                self.memory[serving.slot * SLOT + TOLD] = 1

    def is_told(self, serving: Serving) -> bool:
        """Return whether it was."""
        return self.memory[serving.slot * SLOT + TOLD] == 1

    def end(self) -> None:
        """Note that this thread has done with its request."""
        slot = getattr(self._slot, "number", None)
        if slot is not None:
            self.memory[slot * SLOT : slot * SLOT + LENGTH] = bytes(LENGTH)
            self.serving.pop(slot, None)

    def left_behind(self) -> list[Left]:
        """Return what the table's worker served when it died, for the master."""
        found = []
        for start in range(0, self.slots * SLOT, SLOT):
            length = int.from_bytes(self.memory[start : start + LENGTH], "big")
            if 0 < length <= SLOT - HEAD:
                entry = json.loads(self.memory[start + HEAD : start + HEAD + length])
                answered, told = self.memory[start + ANSWERED : start + HEAD]
                found.append(Left(**entry, answered=bool(answered), told=bool(told)))
        return found

    def tell_end(self) -> None:
        """Note that the worker has reported its own end."""
        self.memory[-1] = 1

    @property
    def end_is_told(self) -> bool:
        """Whether it has, for the master."""
        return self.memory[-1] == 1

    def close(self) -> None:
        """Give the memory back."""
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


_table: Table | None = None


def use(table: Table) -> None:
    """Note this process's requests in ``table`` from now on."""
    global _table
    _table = table


def begin(environ: WSGIEnvironment) -> None:
    """Note a request, where this process is a worker."""
    if _table is not None:
        _table.begin(environ)


def answer() -> None:
    """Note that its answer is sent."""
    if _table is not None:
        _table.answer()


def end() -> None:
    """Note its end."""
    if _table is not None:
        _table.end()
