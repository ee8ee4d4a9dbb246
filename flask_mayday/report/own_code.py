"""Which frames of a traceback belong to the app, and how their files are shown."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from os.path import abspath, basename, dirname, join
from typing import Final

# Folders below the app's root that hold other people's code.
FOREIGN_FOLDERS: Final = frozenset(
    {"site-packages", "dist-packages", ".venv", "venv", "node_modules"}
)
OUR_PACKAGE: Final = __name__.partition(".")[0]
DRILLS: Final = f"{OUR_PACKAGE}.drill"  # shown as own code, for which they stand in
STDLIB: Final = f"{sysconfig.get_path('stdlib')}/"
INTERPRETER: Final = tuple(f"{path}/" for path in {sys.prefix, sys.base_prefix} if path != "/")


@dataclass(frozen=True, slots=True)
class Location:
    """A source file: ``shown`` is its path in a report, ``own`` whether it is the app's code.

    ``stable`` names the file of own code without the folder in which the app is installed, so
    that the same error is recognised on every host and release.
    """

    shown: str
    own: bool
    stable: str


@dataclass(frozen=True)
class OwnCode:
    """Tells the app's own code from libraries.

    ``root_path`` is the app's root folder (``app.root_path``; empty without an app). Every Python
    file in it is own code, except virtual environments, installed packages and ``node_modules``.
    ``others`` are more folders (absolute, or relative to ``root_path``) and names of importable
    packages that count as own code. A package is an item without a slash.
    """

    root_path: str
    others: tuple[str, ...] = ()

    def locate(self, path: str, module: str) -> Location:
        """Return where a source file is; ``module`` is the name under which it was imported."""
        return _locate(self, path, module)


@lru_cache(maxsize=4096)
def _locate(own_code: OwnCode, path: str, module: str) -> Location:
    if path.startswith("<"):
        return Location(path, False, path)
    path = abspath(path)
    if _is_in_package(module, DRILLS):
        tail = path.rpartition(f"/{OUR_PACKAGE}/")[2]
        return Location(f"{OUR_PACKAGE}/{tail}", True, tail)
    if not _is_in_package(module, OUR_PACKAGE):
        for folder in _folders(own_code):
            if path.startswith(folder) and _is_own(folder, path):
                return _own(path, folder)
        if any(_is_in_package(module, name) for name in own_code.others if "/" not in name):
            return Location(_library_path(path), True, _library_path(path))
    return Location(_library_path(path), False, path)


def _folders(own_code: OwnCode) -> list[str]:
    root = abspath(own_code.root_path)
    folders = [root] if own_code.root_path else []
    folders += [abspath(join(root, other)) for other in own_code.others if "/" in other]
    return [folder.rstrip("/") + "/" for folder in folders]


def _is_own(folder: str, path: str) -> bool:
    below = path[len(folder) :].split("/")[:-1]
    if basename(folder[:-1]) in FOREIGN_FOLDERS:
        return not below  # an app that is a single installed module
    if FOREIGN_FOLDERS.intersection(below):
        return False
    inside = (prefix for prefix in INTERPRETER if prefix.startswith(folder) and prefix != folder)
    return not any(path.startswith(prefix) for prefix in inside)


def _own(path: str, folder: str) -> Location:
    parent = dirname(folder[:-1]).rstrip("/") + "/"
    return Location(path[len(parent) :], True, path[len(folder) :])


def _is_in_package(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _library_path(path: str) -> str:
    """Return an installed module's path from its package on, another file's as it is."""
    if "-packages/" in path:
        return path.rpartition("-packages/")[2]
    return path.removeprefix(STDLIB)
