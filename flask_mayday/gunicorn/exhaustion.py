"""Detects that a worker is running out of file descriptors or memory.

Such a worker would fail some of its requests until somebody restarts it. It is replaced before that
happens, but only if it has grown since it started: otherwise a replacement would be no better.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from . import cgroup

DESCRIPTORS: Final = 16  # to keep free for log, spool, mail and database, plus four for each thread
RESERVE: Final = 8  # file descriptors for the report
MEMORY_SHARE: Final = 0.95  # of a memory limit: beyond it, a worker is replaced
GROWTH: Final = 2  # a worker is replaced only if it has grown to this many times its first size
FILES: Final = "file descriptors"
MEMORY: Final = "memory"
MIB: Final = 1 << 20
NO_LIMIT: Final = resource.RLIM_INFINITY


class Resources:
    """The resources of this worker process, measured when it starts.

    ``threads`` is the number of its threads, ``kind`` the resource that it has run out of. A file
    descriptor of ``first_scarce_descriptor`` or above means that too few are left.
    """

    def __init__(self, threads: int) -> None:
        self.kind = FILES
        free = _free_descriptors()
        wanted = DESCRIPTORS + 4 * threads
        self._least_descriptors = 0 if free is None else min(wanted, free // 2)
        self.first_scarce_descriptor = _descriptor_limit() - self._least_descriptors
        address_space, self._first_resident = _memory_sizes()
        limit = _address_space_limit()
        self._most_address_space = max(limit * MEMORY_SHARE, (address_space + limit) / 2)
        self._reserve = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(RESERVE)]

    def exhausted(self) -> str:
        """Return what the worker lacks, as the predicate of a sentence, or an empty string."""
        if lacks := self._lacks_descriptors():
            self.kind = FILES
        elif lacks := self._lacks_memory():
            self.kind = MEMORY
        return lacks

    def release_reserve(self) -> None:
        """Close the file descriptors that were kept for the report."""
        while self._reserve:
            os.close(self._reserve.pop())

    def _lacks_descriptors(self) -> str:
        free = _free_descriptors()
        if free is None or free >= self._least_descriptors:
            return ""
        self.release_reserve()
        return lack_of_descriptors()

    def _lacks_memory(self) -> str:
        address_space, resident = _memory_sizes()
        if address_space >= self._most_address_space:
            most = int(_address_space_limit())
            return f"uses {address_space // MIB} of {most // MIB} MiB of address space (ulimit -v)"
        if resident < GROWTH * self._first_resident:
            return ""
        used, limit = cgroup.memory_used(), cgroup.memory_limit()
        if used is None or limit is None or used < limit * MEMORY_SHARE or not _is_largest():
            return ""
        return (
            f"uses {resident // MIB} MiB, and its container {used // MIB} of the "
            f"{limit // MIB} MiB that it may use (mem_limit)"
        )


def lack_of_descriptors() -> str:
    """Return how many file descriptors are left, as the predicate of a sentence."""
    sockets = sum(target.startswith("socket:") for target in _open_files())
    return (
        f"has {_free_descriptors()} of {_descriptor_limit()} file descriptors left ({sockets} are "
        "sockets). Something opens files or sockets and does not close them"
    )


def _free_descriptors() -> int | None:
    """Return how many more files this process can open, or ``None`` if that is not known."""
    try:
        used = len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:  # not Linux
        return None
    except OSError:
        return 0
    return max(0, _descriptor_limit() - used)


def _descriptor_limit() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == NO_LIMIT else limit


def _open_files() -> Iterator[str]:
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                yield os.readlink(f"/proc/self/fd/{name}")


def _memory_sizes(process: str | int = "self") -> tuple[int, int]:
    """Return how many bytes of address space and of memory a process uses."""
    try:
        size, resident = Path(f"/proc/{process}/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def _address_space_limit() -> float:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return float("inf") if limit == NO_LIMIT else limit


def _is_largest() -> bool:
    """Return whether no other worker of the same master has more in memory."""
    master = os.getppid()
    try:
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    except OSError:
        workers = []
    return all(_memory_sizes(worker)[1] <= _memory_sizes()[1] for worker in workers)
