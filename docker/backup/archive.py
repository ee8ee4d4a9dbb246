"""The format of a backup: a tar archive, encrypted as a whole or plain.

The members of the archive are ``manifest.json``, the contents, and at the end ``checksums.json``
with the SHA-256 of every member. An encrypted backup is a tar archive of two members, ``key.age``
and ``backup.tar.age``. Without this program::

    tar -xf FILE && age -d -i key.age backup.tar.age >backup.tar
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .encryption import decrypted, encrypt
from .errors import BackupError

FORMAT = 1
KEY, PAYLOAD = "key.age", "backup.tar.age"
MANIFEST, CHECKSUMS = "manifest.json", "checksums.json"
MAX_JSON = 64 << 20  # bytes

Manifest = dict[str, object]


class Writer:
    """Adds members to an archive and collects their checksums."""

    def __init__(self, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self._tar = tar
        self._checksums: dict[str, str] = {}
        self.add_bytes(MANIFEST, json.dumps({"format": FORMAT, **manifest}, indent=2).encode())

    def add_file(self, name: str, path: Path) -> None:
        """Add a file, which must not change while it is read."""
        info = self._tar.gettarinfo(path, name)
        with path.open("rb") as source:
            self._add(info, source)

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        self._add(info, io.BytesIO(content))

    def add_link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(info)
        self._checksums[name] = _checksum_of_link(info)

    def add_folder(self, name: str, path: Path) -> None:
        """Add a folder with its owner and mode, without its contents."""
        self._tar.addfile(self._tar.gettarinfo(path, name))

    def finish(self) -> None:
        """Add the checksums; without them the archive counts as damaged."""
        self.add_bytes(CHECKSUMS, json.dumps(self._checksums).encode())

    def _add(self, info: tarfile.TarInfo, source: BinaryIO) -> None:
        reader = HashingReader(source)
        self._tar.addfile(info, reader)
        self._checksums[info.name] = reader.checksum.hexdigest()


class HashingReader:
    """Reads a file and computes the SHA-256 of what was read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.checksum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes."""
        data = self._source.read(size)
        self.checksum.update(data)
        return data


def write(
    target: BinaryIO, manifest: Manifest, add: Callable[[Writer], None], passphrase: str | None
) -> None:
    """Write an archive with what ``add`` adds; ``None`` as the passphrase means plain."""

    def write_plain(plain: BinaryIO) -> None:
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            writer = Writer(tar, manifest)
            add(writer)
            writer.finish()

    if passphrase is None:
        write_plain(target)
        return
    with tempfile.TemporaryFile() as payload:
        key = encrypt(write_plain, payload, passphrase)
        with tarfile.open(fileobj=target, mode="w|") as tar:
            for name, content in ((KEY, io.BytesIO(key)), (PAYLOAD, payload)):
                info = tarfile.TarInfo(name)
                info.size, info.mode = content.seek(0, io.SEEK_END), 0o600
                content.seek(0)
                tar.addfile(info, content)


Member = tuple[tarfile.TarInfo, HashingReader]


@contextmanager
def open_archive(
    source: BinaryIO, passphrase: str | None
) -> Iterator[tuple[Manifest, Iterator[Member]]]:
    """Yield the manifest and the members of an archive. Each member must be read before the next.

    The checksums are verified when the iterator has ended. Raises :exc:`BackupError` if
    the file is not a backup or is damaged, or if the passphrase is wrong.
    """
    try:
        with tarfile.open(fileobj=source, mode="r|") as outer:
            first = outer.next()
            if first is None or first.name not in (KEY, MANIFEST):
                raise BackupError("The file is not a backup of this stack.")
            if first.name == MANIFEST:
                yield _read(outer, first)
                return
            key = _content(outer, first)
            payload = outer.next()
            if payload is None or payload.name != PAYLOAD:
                raise BackupError("The file is damaged: it ends after the key.")
            if not passphrase:
                raise BackupError("The file is encrypted: a passphrase is needed.")
            encrypted = outer.extractfile(payload)
            assert encrypted is not None
            with (
                decrypted(encrypted, key, passphrase) as plain,  # type: ignore[arg-type]
                tarfile.open(fileobj=plain, mode="r|") as tar,
            ):
                yield _read(tar, tar.next())
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"The file is damaged or is not a backup: {error}.") from error


def _read(tar: tarfile.TarFile, first: tarfile.TarInfo | None) -> tuple[Manifest, Iterator[Member]]:
    if first is None or first.name != MANIFEST:
        raise BackupError("The file is not a backup of this stack.")
    content = _content(tar, first)
    manifest: Manifest = _json(content)
    if manifest.get("format") != FORMAT:
        raise BackupError(
            f"The backup has format {manifest.get('format')}, and this version reads {FORMAT}: "
            "use the version of the stack that wrote it."
        )
    return manifest, _members(tar, hashlib.sha256(content).hexdigest())


def _members(tar: tarfile.TarFile, manifest: str) -> Iterator[Member]:
    found, links = {MANIFEST: manifest}, set[Path]()
    while (info := tar.next()) is not None:
        if info.name == CHECKSUMS:
            if _json(_content(tar, info)) != found:
                raise BackupError("The file is damaged: a checksum differs.")
            return
        _check_name(info, links)
        if info.issym():
            links.add(Path(info.name))
            found[info.name] = _checksum_of_link(info)
        content = tar.extractfile(info) if info.isfile() else None
        reader = HashingReader(content or io.BytesIO())  # type: ignore[arg-type]
        yield info, reader
        while reader.read(1 << 20):
            pass
        if info.isfile():
            found[info.name] = reader.checksum.hexdigest()
    raise BackupError("The file is damaged: its end is missing.")


def _check_name(info: tarfile.TarInfo, links: set[Path]) -> None:
    path = Path(info.name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not links.isdisjoint(path.parents)  # a link may lead out of the folder
        or not (info.isfile() or info.isdir() or info.issym())
    ):
        raise BackupError(f"The file is not a backup of this stack: it contains {info.name!r}.")


def _checksum_of_link(info: tarfile.TarInfo) -> str:
    return hashlib.sha256(b"link to " + info.linkname.encode()).hexdigest()


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(info) if info.size <= MAX_JSON else None
    if content is None:
        raise BackupError(f"The file is damaged: {info.name} is not readable.")
    return content.read()


def _json(content: bytes) -> dict[str, object]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise BackupError("The file is damaged: a part of it is not readable.") from error
    if not isinstance(value, dict):
        raise BackupError("The file is damaged: a part of it is not readable.")
    return value
