"""When each server was started and stopped: a small file per host in the folder ``starts``.

They show that a server is started again and again, even if it dies before it can log.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .ownership import make_folder, open_file

FOLDER: Final = "starts"
MAX_BYTES: Final = 4096  # of one file; then only its last lines are kept
KEPT_LINES: Final = 20
START: Final = "start"
STOP: Final = "stop"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A start or an orderly stop of the server on ``host``; ``time`` is since the epoch."""

    time: float
    kind: str
    host: str


def note_server_event(spool: Path, kind: str) -> None:
    """Record that the server on this host has started or stops. Never raises."""
    with suppress(OSError):
        folder = spool / FOLDER
        make_folder(folder)
        path = folder / socket.gethostname()
        if path.exists() and path.stat().st_size > MAX_BYTES:
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
            with open(open_file(path, os.O_TRUNC), "w", encoding="ascii", errors="replace") as file:
                file.write("\n".join(lines[-KEPT_LINES:]) + "\n")
        descriptor = open_file(path, os.O_APPEND)
        try:
            os.write(descriptor, f"{time.time():.3f} {kind}\n".encode("ascii"))
        finally:
            os.close(descriptor)


def server_events(spool: Path, since: float) -> list[ServerEvent]:
    """Return the events after ``since``, the earliest first. Raises :exc:`OSError`."""
    found = []
    folder = spool / FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            moment, _, kind = line.partition(" ")
            with suppress(ValueError):
                if float(moment) > since:
                    found.append(ServerEvent(float(moment), kind, path.name))
    return sorted(found, key=lambda event: event.time)


def expire_server_events(spool: Path, before: float) -> None:
    """Delete the files of hosts without an event since ``before``, in seconds since the epoch.

    Never raises: what cannot be deleted stays.
    """
    with suppress(OSError):
        for path in (spool / FOLDER).iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
