"""Chooses where log and spool go when the instance folder cannot be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def writable_base(instance: Path, name: str, app: str, environ: Mapping[str, str]) -> Path:
    """Return the folder below which this process can make and write the folder ``name``.

    This is ``instance``, or ``$XDG_STATE_HOME/<app>`` (by default in ``~/.local/state``) if only
    that can be written. Nothing is made or opened.
    """
    if is_writable(instance / name):
        return instance
    state = Path(environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"))
    base = state / app
    return base if base.is_absolute() and is_writable(base / name) else instance


def is_writable(folder: Path) -> bool:
    """Return whether this process can write ``folder``, or make it if it does not exist."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    return False
