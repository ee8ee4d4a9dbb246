"""The default folders of the log and the spool, where an app cannot write its instance folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger("flask_mayday.settings")


def default_folder(instance: Path, name: str, app: str, environ: Mapping[str, str]) -> Path:
    """Return the folder ``name`` in ``instance``, or one that this process can make and write.

    The other one is ``$XDG_STATE_HOME/<app>/<name>``, by default below ``~/.local/state``. It is
    used, with a warning, only if it can be written and the instance folder cannot. Nothing is made
    or opened.
    """
    folder = instance / name
    if is_writable(folder):
        return folder
    state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    other = Path(state) / app / name
    if not other.is_absolute() or not is_writable(other):
        return folder
    logger.warning("%s cannot be written: using %s", folder, other)
    return other


def is_writable(folder: Path) -> bool:
    """Return whether this process can write ``folder``, or make it where it does not exist."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    return False
