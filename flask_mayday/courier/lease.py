"""The courier's lease: decides which of the processes that share a spool delivers its mails.

The holder locks ``courier.lock``, so that another process takes over at once when it dies. It also
touches the file every few seconds, so that another takes over when it is frozen, as in a paused
container, which keeps its locks. Taking over from a frozen holder puts a new file in the place of
the old one. When the old holder wakes up, it finds that its file is gone, and stops, also if it
runs an earlier version of this package. Until then, it can change nothing in the database
(:meth:`.Database.take_over`).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..forks import reset_in_child
from ..spool.database import NO_FILE, identity
from ..spool.ownership import make_folder, open_file

RENEW_INTERVAL: Final = 5.0  # seconds
EXPIRY: Final = 20.0  # seconds without renewal after which another process takes over


class Lease:
    """The lease on the spool in ``folder``, for one thread; another may call :meth:`renew`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "courier.lock"
        self.was_expired = False  # whether it was acquired from a process that is frozen
        self._descriptor = -1
        self._identity = NO_FILE
        self._seen: tuple[object, float] = (None, 0.0)  # another's lease, and since when
        # The parent keeps its lease: only the child's copy of the descriptor is closed.
        reset_in_child(self, Lease.release)

    def acquire(self) -> bool:
        """Try to become the holder, without waiting; raise :exc:`OSError` if that cannot be tried.

        The lease of a frozen process is found to have expired only after repeated calls.
        """
        make_folder(self.path.parent)
        self.was_expired = False
        descriptor = open_file(self.path)
        if not _lock(descriptor):
            expired = self._has_expired(os.fstat(descriptor))
            os.close(descriptor)
            if not expired:
                return False
            self.was_expired = True
            descriptor = self._replace()
        self._hold(descriptor)
        return self.is_held()

    def take(self) -> None:
        """Become the holder at once. The previous holder notices within a second, and stops.

        Raises :exc:`OSError`.
        """
        self._hold(self._replace())

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        with suppress(OSError):  # a full disk: then nobody can take over while this one is frozen
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)

    def is_held(self) -> bool:
        """Return whether this process still holds the lease."""
        return self._descriptor >= 0 and self._identity == identity(self.path)

    def renew(self) -> None:
        """Keep the lease from expiring."""
        with suppress(OSError):
            os.utime(self._descriptor)

    def release(self) -> None:
        """Let another process become the holder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _has_expired(self, status: os.stat_result) -> bool:
        """Return whether this process has seen no renewal of the lease for ``EXPIRY`` seconds.

        The wall clock is not used, because it may be set. An empty file belongs to an earlier
        version, which does not renew the lease.
        """
        seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        now = time.monotonic()
        if seen != self._seen[0]:
            self._seen = (seen, now)
        return status.st_size > 0 and now - self._seen[1] >= EXPIRY

    def _replace(self) -> int:
        path = self.path.with_name(f"courier.{secrets.token_hex(4)}.lock")
        descriptor = open_file(path)
        _lock(descriptor)
        path.rename(self.path)
        return descriptor


def expired_since(folder: Path) -> float | None:
    """Return when an expired lease was last renewed, in seconds since the epoch, else ``None``.

    Raises :exc:`OSError` if that cannot be determined.
    """
    try:
        status = os.stat(folder / "courier.lock")
    except FileNotFoundError:
        return None
    is_old = time.time() - status.st_mtime > EXPIRY
    return status.st_mtime if is_old and status.st_size > 0 and is_locked(folder) else None


def is_locked(folder: Path) -> bool:
    """Return whether any process holds the lease, expired or not. Raises :exc:`OSError`."""
    try:
        descriptor = os.open(folder / "courier.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
