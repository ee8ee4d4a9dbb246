"""The numbered backups of a log: ``.1`` is the newest, the highest number the oldest."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Final

# A backup count has at most seven digits. A longer suffix, such as .20260131, is not ours.
NUMBER: Final = re.compile("[1-9][0-9]{0,6}")


def numbers(path: str) -> list[int]:
    """Return the numbers of the backups of the log ``path``, the newest (the lowest) first."""
    folder, name = os.path.split(path)
    start = len(name) + 1
    return sorted(
        int(entry[start:])
        for entry in os.listdir(folder or ".")
        if entry.startswith(f"{name}.") and NUMBER.fullmatch(entry, start)
    )


def rotate(path: str, count: int) -> list[int]:
    """Rename the log ``path`` to ``.1`` and keep at most ``count`` backups.

    Every backup below the first free number moves up by one, the highest first. A process that
    is killed in between leaves a number free, and the next rotation fills it. The caller holds
    the lock of the log.

    Returns the numbers of the backups above ``count`` that were deleted, which happens after
    ``count`` was lowered. Raises :exc:`OSError` if a file cannot be renamed.
    """
    there = numbers(path)
    surplus = [number for number in there if number > count]
    free = next((n for n, number in enumerate(there, 1) if n != number), len(there) + 1)
    last = min(free, count)
    # ext4 flushes a file before it is renamed over another one: deleting the oldest backup first
    # halves the time of a rotation.
    for number in (last, *surplus):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}.{number}")
    for number in range(last - 1, 0, -1):
        with suppress(FileNotFoundError):
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
    os.rename(path, f"{path}.1")
    return surplus


def renumber_ring(path: str) -> None:
    """Give the backups of the log ``path`` new numbers, in the order of their age.

    Earlier versions used the numbers in turn, as a ring. Renaming keeps the files' times, so if a
    process is killed here, the next one can finish.
    """
    there = numbers(path)
    age = {number: -os.stat(f"{path}.{number}").st_mtime_ns for number in there}
    above = max(there, default=0)
    for position, number in enumerate(sorted(there, key=lambda n: (age[n], -n)), 1):
        os.rename(f"{path}.{number}", f"{path}.{above + position}")
    for position in range(1, len(there) + 1):
        os.rename(f"{path}.{above + position}", f"{path}.{position}")
