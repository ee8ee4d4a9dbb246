"""Finds out whether a courier that stops is the last one on its machine."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ..spool.ownership import make_folder, open_file


class Presence:
    """A shared lock in ``folder`` that each process with a courier holds until it stops."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "couriers.lock"
        self._descriptor = -1

    def enter(self) -> None:
        """Take the lock, if the folder can be written."""
        with suppress(OSError):
            make_folder(self.path.parent)
            self._descriptor = open_file(self.path)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # waits while another process leaves

    def leave(self) -> bool:
        """Release the lock; return whether no other process holds it."""
        if self._descriptor < 0:
            return False
        try:
            # The shared lock is released first, so that of several that stop at once, one succeeds.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(self._descriptor)
            self._descriptor = -1
        return True
