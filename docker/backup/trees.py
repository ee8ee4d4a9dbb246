"""The folders of a backup: how they are written into an archive, and how a restore replaces them.

A restore first unpacks each folder into ``.restored`` inside it. Then it moves what is there into
``.before-restore``, and what was unpacked into its place. Until the stack is healthy, both can be
moved back.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import volume_owner

from flask_mayday.courier.snapshot import copy_spool, keep_undelivered

from .archive import HashingReader, Writer
from .errors import BackupError

SECRETS, SPOOL = "secrets", "spool"
FOLDERS = {
    SECRETS: Path("/run/secrets"),
    SPOOL: Path("/var/spool/microblog"),
    "instance": Path("/var/instance"),
    "tls": Path("/run/tls"),
    "acme": Path("/var/lib/acme"),
}
CONFIDENTIAL = (SECRETS, "tls", "acme")  # left out of a plain backup
NEW, OLD, PART = ".restored", ".before-restore", ".before-restore.part"
NOT_MOVED = (volume_owner.FILE, NEW, OLD, PART)
EXCLUDED_NAMES = (*NOT_MOVED, ".rotation")
SQLITE_MAGIC = b"SQLite format 3\0"  # the first bytes of every database file
SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


def add_all(writer: Writer, folders: Mapping[str, Path], *, plain: bool) -> None:
    """Add every folder that exists; leave the confidential ones out of a plain archive."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, SPOOL)
        for name, folder in folders.items():
            if not folder.is_dir() or (plain and name in CONFIDENTIAL):
                continue
            if name == SPOOL:
                copy_spool(folder, copy)
                folder = copy
            _add(writer, name, folder, Path(temporary, "file"))


def _add(writer: Writer, name: str, folder: Path, temporary: Path) -> None:
    writer.add_folder(name, folder)
    for path in _paths(folder):
        member = f"{name}/{path.relative_to(folder)}"
        try:
            if path.is_symlink():
                writer.add_link(member, os.readlink(path))
            elif path.is_dir():
                writer.add_folder(member, path)
            elif path.is_file() and not _belongs_to_database(path):
                _copy(path, temporary)  # a file that grows while it is read would spoil the archive
                writer.add_file(member, temporary)
        except FileNotFoundError:  # deleted meanwhile
            continue


def _paths(folder: Path, excluded: Collection[str] = EXCLUDED_NAMES) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:  # deleted meanwhile
        return
    for path in paths:
        if path.name in excluded:
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _paths(path, excluded=())  # further down, a file of that name is the app's


def _belongs_to_database(path: Path) -> bool:
    for suffix in SQLITE_SUFFIXES:
        if path.name.endswith(suffix) and _is_database(Path(str(path).removesuffix(suffix))):
            return True
    return False


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def _copy(path: Path, target: Path) -> None:
    """Copy a file with its times, owner and mode; of a SQLite database, only committed data."""
    target.unlink(missing_ok=True)
    status = path.stat()
    if _is_database(path):
        try:
            with (
                closing(sqlite3.connect(path, timeout=30)) as source,
                closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
        except sqlite3.DatabaseError as error:
            raise BackupError(f"{path} cannot be copied: {error}") from error
    else:
        shutil.copyfile(path, target)
    shutil.copystat(path, target)
    if os.geteuid() == 0:
        os.chown(target, status.st_uid, status.st_gid)


def unpack(folders: Mapping[str, Path], info: tarfile.TarInfo, content: HashingReader) -> None:
    """Unpack a member into ``.restored`` in its folder; skip it if that folder does not exist."""
    name, _, rest = info.name.partition("/")
    if name not in folders or not folders[name].is_dir():
        return
    target = folders[name] / NEW / rest
    if info.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif info.issym():
        target.symlink_to(info.linkname)
        return
    else:
        with target.open("xb") as file:
            while part := content.read(1 << 20):
                file.write(part)
    if os.geteuid() == 0:
        os.chown(target, info.uid, info.gid)
    target.chmod(info.mode & 0o777)


def delete_unpacked(folders: Mapping[str, Path]) -> None:
    """Delete what an earlier restore has unpacked."""
    for folder in folders.values():
        shutil.rmtree(folder / NEW, ignore_errors=True)


def swap(folders: Mapping[str, Path]) -> int:
    """Replace the data with what was unpacked; return how many undelivered reports were kept."""
    kept = 0
    for name, folder in folders.items():
        if not (folder / NEW).is_dir():
            continue
        (folder / PART).mkdir()
        _move_all(folder, folder / PART)
        (folder / PART).rename(folder / OLD)
        _move_all(folder / NEW, folder)
        (folder / NEW).rmdir()
        if name == SPOOL:
            kept = _keep_reports(folder)
    return kept


def is_swapped(folders: Mapping[str, Path]) -> bool:
    """Return whether a :func:`swap` was begun, and neither undone nor made final."""
    return any((folder / name).is_dir() for folder in folders.values() for name in (OLD, PART))


def put_back(folders: Mapping[str, Path]) -> None:
    """Undo :func:`swap`, also one that was interrupted."""
    for folder in folders.values():
        if (folder / OLD).is_dir():  # so what is in the folder has been restored
            (folder / NEW).mkdir(exist_ok=True)
            _move_all(folder, folder / NEW)
            (folder / OLD).rename(folder / PART)
        if (folder / PART).is_dir():
            _move_all(folder / PART, folder)
            (folder / PART).rmdir()
    delete_unpacked(folders)


def commit(folders: Mapping[str, Path]) -> None:
    """Delete what was there before the restore."""
    for folder in folders.values():
        if (folder / OLD).is_dir():  # a deletion that is killed must not leave a part to put back
            (folder / OLD).rename(folder / NEW)
    delete_unpacked(folders)


def _move_all(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.name not in NOT_MOVED:
            path.rename(target / path.name)


def _keep_reports(folder: Path) -> int:
    """Keep the reports that were not delivered before the restore, so that none is lost."""
    incoming = folder / "incoming"
    incoming.mkdir(exist_ok=True)
    kept = keep_undelivered(folder / OLD / "reports.db", incoming)
    earlier = folder / OLD / "incoming"
    if earlier.is_dir():
        for path in earlier.iterdir():
            if not (incoming / path.name).exists():
                shutil.copy2(path, incoming)
    return kept
