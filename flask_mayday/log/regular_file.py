"""Opens the files of the log: never a pipe or a device, which could block the caller."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

MODE: Final = 0o640


def open_regular(path: str, flags: int) -> int:
    """Open a regular file and return its descriptor.

    Raises :exc:`OSError` for anything else. A pipe or device never blocks the caller.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor
