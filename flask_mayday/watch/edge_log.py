"""Reads which error pages nginx has sent in the app's place, from its files of JSON lines.

nginx writes a file per hour (``nginx/edge-log.conf``) and reopens it for each line, so a file may
be renamed or deleted at any time. A file is deleted once it was read to its end and nginx has
finished with it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

PATTERN: Final = "edge-*.jsonl*"
CHUNK: Final = 4 << 20  # bytes read at once
FILE_BYTES: Final = 1 << 20  # a longer file is renamed, so that it can be deleted
FOLDER_BYTES: Final = 64 << 20  # beyond this, the oldest files are deleted, read or not
FINISHED_AFTER: Final = 120.0  # seconds without a write after which nginx has finished with a file
KEPT: Final = 86_400.0  # seconds after which a file is deleted, read or not

logger = logging.getLogger(__name__)


class EdgeLog:
    """The files in ``folder``; ``offsets`` maps their names to how many bytes were read."""

    def __init__(self, folder: Path, offsets: dict[str, int]) -> None:
        self.folder = folder
        self.offsets = offsets

    def read(self, now: float) -> list[dict[str, Any]]:
        """Return the requests that nginx has added, from at most about 4 MB of each file.

        ``now`` is in seconds since the epoch. A file that cannot be read or deleted is tried again
        with the next call.
        """
        found: list[dict[str, Any]] = []
        paths = sorted(self.folder.glob(PATTERN))
        for path in self._bounded(paths, now):
            try:
                found += self._read_file(path)
                self._delete_or_rename(path, now)
            except OSError as error:
                logger.debug("%s: %s", path, error)
        for name in [name for name in self.offsets if not (self.folder / name).exists()]:
            del self.offsets[name]
        return found

    def _read_file(self, path: Path) -> list[dict[str, Any]]:
        with path.open("rb") as file:
            offset = self.offsets.get(path.name, 0)
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            data = file.read(CHUNK)
        whole = data[: data.rfind(b"\n") + 1]
        self.offsets[path.name] = offset + len(whole)
        return [line for text in whole.splitlines() if (line := _parsed(text))]

    def _delete_or_rename(self, path: Path, now: float) -> None:
        """Delete a file that was read and is no longer written; rename one that is too long."""
        status, offset = path.stat(), self.offsets[path.name]
        if now - status.st_mtime > FINISHED_AFTER and offset >= status.st_size:
            path.unlink()
        elif offset > FILE_BYTES and path.suffix == ".jsonl":
            renamed = path.rename(f"{path}.{time.time_ns()}")
            self.offsets[renamed.name] = self.offsets.pop(path.name)

    def _bounded(self, paths: list[Path], now: float) -> list[Path]:
        """Delete files that are too old or too many, and return the others, oldest first."""
        sizes = {}
        for path in paths:
            with suppress(FileNotFoundError):
                status = path.stat()
                sizes[path] = (status.st_size, status.st_mtime)
        total = sum(size for size, _ in sizes.values())
        kept = []
        for path, (size, changed) in sizes.items():
            if now - changed > KEPT or total > FOLDER_BYTES:
                if self.offsets.get(path.name, 0) < size:
                    logger.warning(
                        "%s was deleted unread: too old, or the folder is too large", path
                    )
                with suppress(OSError):
                    path.unlink()
                total -= size
            else:
                kept.append(path)
        return kept


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line.decode(errors="replace"))
        return {
            "time": float(found["time"]),
            "status": int(found["status"]),
            "request_id": str(found["request_id"]),
            "method": str(found["method"]),
            "path": str(found["path"]),
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
