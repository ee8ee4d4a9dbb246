"""The master's part of the metrics: counts workers, and merges the files of those that ended."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from ..metrics import worker_files
from ..metrics.instruments import instruments, safely
from ..settings import ServerSettings

NO_PORT: Final = (
    "METRICS is on, but STATUS_PORT, on which they are served, is not set.\n"
    "Set STATUS_PORT=8001 and let gunicorn listen there too: --bind 127.0.0.1:8001"
)

_is_on = False
_made: Path | None = None  # the folder, if this server has made it


def prepare(settings: ServerSettings) -> None:
    """Prepare to count, if the setting METRICS is on; exit with the fix if that is impossible.

    Called before the app is loaded: it may import prometheus_client.
    """
    global _is_on, _made
    if not settings.metrics or _is_on:
        return
    if not settings.status_port:
        sys.exit(NO_PORT)
    _is_on = True
    _made = worker_files.prepare()
    atexit.register(_clean_up, os.getpid())
    instruments()


def is_on() -> bool:
    """Return whether the master counts for its workers."""
    return _is_on


def count_start() -> None:
    """Count a worker that is about to be forked."""
    if _is_on:
        safely(instruments().workers_started.inc)


def count_loss() -> None:
    """Count a worker that did not end in an orderly way."""
    if _is_on:
        safely(instruments().workers_lost.inc)


def merge() -> None:
    """Merge the files of workers that have ended."""
    folder = worker_files.folder()
    if _is_on and folder is not None:
        safely(worker_files.merge_ended, folder)


def keep_files() -> None:
    """Leave the folder to another master, which has taken over."""
    global _made
    _made = None


def _clean_up(master: int) -> None:
    """Delete the folder when the master exits, unless the environment has named it."""
    if _made is not None and os.getpid() == master:
        shutil.rmtree(_made, ignore_errors=True)
