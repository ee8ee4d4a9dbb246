"""Gives what root makes in the spool to the spool's owner, so that the server can use it.

A cron job or a command of root may be the first to report an error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

# The flags of a file to write. A link could lead root to a file that is not the spool's.
WRITE: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents. Raises :exc:`OSError`."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _give_to_owner(folder, folder.parent)


def open_file(path: Path, more: int = 0, mode: int = 0o640) -> int:
    """Return a descriptor of the file at ``path``, which is made if it is missing.

    ``more`` are flags in addition to :data:`WRITE`. Raises :exc:`OSError`.
    """
    descriptor = os.open(path, WRITE | more, mode)
    _give_to_owner(descriptor, path.parent)
    return descriptor


def _give_to_owner(made: int | Path, folder: Path) -> None:
    if os.geteuid() == 0:
        with suppress(OSError):  # root without the right to do so, as in a container
            owner = folder.stat()
            change = os.fchown if isinstance(made, int) else os.lchown
            change(made, owner.st_uid, owner.st_gid)  # type: ignore[arg-type]
