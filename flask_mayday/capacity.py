"""What the web workers and their threads need: threads, memory and database connections.

Each setting may be valid alone while their product is too much. Uses only the standard library,
because `make up` loads this file by its path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

OWN_THREADS: Final = 5  # per worker: its main loop, two that watch it, the courier and its lease
OTHER_THREADS: Final = 16  # the master, health checks, and commands in the container
BASE_MEMORY: Final = 64  # MiB, of the master
WORKER_MEMORY: Final = 32  # MiB, measured with the demo: a larger app needs more
SPARE_CONNECTIONS: Final = 1  # per worker, in addition to one for each thread
OTHER_CONNECTIONS: Final = 8  # those PostgreSQL reserves, the migration, an administrator
GENERATIONS: Final = 2  # of containers during an update: new ones start before old ones stop
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Capacity:
    """The server processes of one container, and the number of such containers."""

    workers: int
    threads: int
    containers: int = 1

    @property
    def thread_count(self) -> int:
        """The threads of one container."""
        return self.workers * (self.threads + OWN_THREADS) + OTHER_THREADS

    @property
    def memory(self) -> int:
        """The bytes that one container needs, before the app has stored anything."""
        return (BASE_MEMORY + self.workers * WORKER_MEMORY) * MIB

    @property
    def container_connections(self) -> int:
        """The most database connections of one container."""
        return self.workers * (self.threads + SPARE_CONNECTIONS)

    @property
    def connections(self) -> int:
        """The most database connections in use at once: while containers are being replaced."""
        return GENERATIONS * self.containers * self.container_connections + OTHER_CONNECTIONS

    def thread_problem(self, limit: int) -> str | None:
        """Return why one container with ``limit`` threads is not enough, and the fix."""
        if self.thread_count <= limit:
            return None
        fix = or_raise(self.fix(lambda one: one.thread_count <= limit))
        return (
            f"{self._product()} needs {self.thread_count} threads ({self.workers} x "
            f"({self.threads} + {OWN_THREADS} of its own) + {OTHER_THREADS} others), and a web "
            f"container may have {limit}. {fix} the limit (in the stack: pids_limit of web, in "
            "compose.override.yaml)."
        )

    def memory_problem(self, limit: int) -> str | None:
        """Return why one container with ``limit`` bytes of memory is not enough, and the fix."""
        if self.memory <= limit:
            return None
        workers = (limit // MIB - BASE_MEMORY) // WORKER_MEMORY
        fix = or_raise(f"Set WEB_CONCURRENCY={workers}" if workers > 0 else "")
        return (
            f"WEB_CONCURRENCY={self.workers} needs at least {self.memory // MIB} MiB "
            f"({self.workers} x {WORKER_MEMORY} + {BASE_MEMORY}), and a web container may use "
            f"{limit // MIB} MiB. {fix} the limit "
            "(in the stack: mem_limit of web, in compose.override.yaml)."
        )

    def connection_problem(self, limit: int) -> str | None:
        """Return why a database with ``limit`` connections is not enough, and the fix."""
        if self.connections <= limit:
            return None
        fix = self.fix(lambda one: one.connections <= limit)
        return (
            f"WEB_REPLICAS={self.containers} x {self._product()} needs {self.connections} database "
            f"connections while new containers replace the old ones ({GENERATIONS} x "
            f"{self.containers} x {self.workers} x ({self.threads} + {SPARE_CONNECTIONS} spare) + "
            f"{OTHER_CONNECTIONS} others), and the database allows {limit} (DB_MAX_CONNECTIONS). "
            f"{f'{fix}, or set' if fix else 'Set'} DB_MAX_CONNECTIONS={self.connections}."
        )

    def fix(self, fits: Callable[[Capacity], bool]) -> str:
        """Return what to set so that ``fits`` is true: as many threads as possible, else workers.

        Returns an empty text if not even one worker with one thread fits.
        """
        for threads in range(self.threads, 0, -1):
            if fits(replace(self, threads=threads)):
                return f"Set WEB_THREADS={threads}"
        for workers in range(self.workers, 0, -1):
            if fits(replace(self, workers=workers)):
                return f"Set WEB_CONCURRENCY={workers}"
        fits_at_all = fits(replace(self, workers=1, threads=1))
        return "Lower WEB_CONCURRENCY and WEB_THREADS" if fits_at_all else ""

    def _product(self) -> str:
        return f"WEB_CONCURRENCY={self.workers} x WEB_THREADS={self.threads}"


def or_raise(fix: str) -> str:
    """Return the start of a sentence that names a fix, if there is one, or a limit to raise."""
    return f"{fix}, or raise" if fix else "Raise"
