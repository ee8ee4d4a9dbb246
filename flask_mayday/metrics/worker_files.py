"""The files in which gunicorn's processes keep their metrics: one folder for each server.

prometheus_client makes a file for each kind of metric and process, and reads all of them for a
scrape. The master merges the files of a worker that has ended, so that their number is bounded.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
# Not on a disk: the files are mapped, and writing to one on a full disk kills the process.
MEMORY: Final = Path("/dev/shm")  # noqa: S108
LOCK: Final = "lock"
ENDED: Final = "ended"  # in place of a process id: the sum of the processes that have ended
TOO_LATE: Final = (
    "METRICS is on, but prometheus_client was imported before gunicorn's logger was made, so each "
    f"worker would count for itself.\nImport it later, or set {FOLDER_VARIABLE} to an empty folder."
)
NOT_WRITABLE: Final = (
    f"METRICS is on, and {FOLDER_VARIABLE} is %r: this folder cannot be written (%s).\n"
    "Set it to a folder that the server can write, or leave it unset."
)

Value = tuple[float, float]  # a value and its time, which only some gauges have


def _add(one: Value, other: Value) -> Value:
    return one[0] + other[0], 0.0


def _latest(one: Value, other: Value) -> Value:
    return max(one, other, key=lambda value: value[1])


# How the values of two processes become one, by the beginning of the file's name. Other files are
# deleted: those gauges have a series for each process.
MERGES: Final[dict[str, Callable[[Value, Value], Value]]] = {
    "counter": _add,
    "histogram": _add,
    "summary": _add,
    "gauge_sum": _add,
    "gauge_max": max,
    "gauge_min": min,
    "gauge_mostrecent": _latest,
}


def prepare() -> Path | None:
    """Make the folder and name it in the environment, before prometheus_client is imported.

    Returns it, to be deleted when the server stops, or ``None`` if the environment names one
    already. Exits with a message that names the fix if that folder cannot be written, or if
    prometheus_client was imported too early.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        try:
            Path(named).mkdir(parents=True, exist_ok=True)
            (Path(named) / LOCK).touch(0o600)
        except OSError as error:
            sys.exit(NOT_WRITABLE % (named, error.strerror))
        return None
    if "prometheus_client" in sys.modules:
        sys.exit(TOO_LATE)
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="flask-mayday-metrics-", dir=memory))
    os.environ[FOLDER_VARIABLE] = str(made)
    return made


def folder() -> Path | None:
    """Return the folder of this server's files; ``None`` if this process counts for itself."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


@contextmanager
def reading(where: Path) -> Iterator[list[str]]:
    """Yield the paths of the files; the master merges none of them meanwhile."""
    with _locked(where, fcntl.LOCK_SH):
        paths = []
        for path in where.glob("*.db"):
            with suppress(FileNotFoundError):
                if path.stat().st_size:  # a process that starts has just made it
                    paths.append(str(path))
        yield paths


def merge_ended(where: Path) -> None:
    """Merge the files of processes that have ended into one for each kind, and delete them.

    While files are being read, this does nothing: the next call finds them too.
    """
    from prometheus_client.multiprocess import mark_process_dead

    ended = {pid: paths for pid, paths in _by_process(where).items() if not _is_alive(pid)}
    for pid in ended:
        mark_process_dead(pid, str(where))  # deletes the files of its live gauges
    with suppress(BlockingIOError), _locked(where, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for path in (path for paths in ended.values() for path in paths if path.exists()):
            _merge(path)
            path.unlink()


def _by_process(where: Path) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for path in where.glob("*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit():
            found.setdefault(int(pid), []).append(path)
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def _merge(path: Path) -> None:
    """Add the values in a file to those of the processes that have ended."""
    from prometheus_client.mmap_dict import MmapedDict

    kind = path.name.rpartition("_")[0]
    merge = MERGES.get(kind)
    if merge is None:
        return
    target = MmapedDict(str(path.with_name(f"{kind}_{ENDED}.db")))
    try:
        known = {key: (value, moment) for key, value, moment in target.read_all_values()}
        # The process may have been killed while it made the file.
        with suppress(struct.error, RuntimeError, UnicodeDecodeError):
            for key, value, moment, _ in MmapedDict.read_all_values_from_file(str(path)):
                own = value, moment
                target.write_value(key, *(merge(known[key], own) if key in known else own))
    finally:
        target.close()


@contextmanager
def _locked(where: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(where / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
