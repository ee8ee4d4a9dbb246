"""The file of a backup: what it holds, and what is refused with which reason."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import random
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

ROOT = Path(__file__).resolve().parents[3]
PASSPHRASE = "correct horse battery staple"
BIG = random.Random(1).randbytes(3 << 20)


@pytest.fixture(scope="module")
def archive() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docker")
        from backup import archive

        yield archive


def written(archive: Any, passphrase: str | None) -> bytes:
    def add(writer: Any) -> None:
        writer.add_folder("instance", ROOT)
        writer.add_bytes("instance/big", BIG)
        writer.add_bytes("instance/empty", b"")
        writer.add_link("instance/link", "big")

    target = io.BytesIO()
    archive.write(target, {"app": "Microblog"}, add, passphrase)
    return target.getvalue()


def read(archive: Any, data: bytes, passphrase: str | None) -> dict[str, bytes]:
    with archive.open_archive(io.BytesIO(data), passphrase) as (manifest, members):
        assert manifest["app"] == "Microblog"
        return {
            info.name: b"".join(iter(lambda content=content: content.read(70_000), b""))
            for info, content in members
        }


def problem(archive: Any, data: bytes, passphrase: str | None = PASSPHRASE) -> str:
    from backup.errors import BackupError

    with pytest.raises(BackupError) as caught:
        read(archive, data, passphrase)
    return str(caught.value)


@pytest.fixture(scope="module")
def encrypted(archive: Any) -> bytes:
    """An encrypted backup, made once: deriving the key takes a second."""
    return written(archive, PASSPHRASE)


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_what_was_written_is_read(archive: Any, encrypted: bytes, passphrase: str | None) -> None:
    data = encrypted if passphrase else written(archive, None)
    assert read(archive, data, passphrase) == {
        "instance": b"",
        "instance/big": BIG,
        "instance/empty": b"",
        "instance/link": b"",
    }
    assert (BIG[:1000] in data) == (b"Microblog" in data) == (passphrase is None)


@pytest.mark.skipif(shutil.which("age") is None, reason="age is not installed")
def test_the_documented_command_opens_it_with_the_passphrase(
    archive: Any, encrypted: bytes, tmp_path: Path
) -> None:
    del archive
    (tmp_path / "FILE").write_bytes(encrypted)
    (command,) = re.findall(r"`(tar -xf FILE && .*)`", (ROOT / "docs/operations.md").read_text())
    # age reads a passphrase from a terminal only.
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvp("sh", ["sh", "-c", command])
    shown = b""
    while b"passphrase" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, f"{PASSPHRASE}\n".encode())
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(terminal, 1000):
            shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert (tmp_path / "instance/big").read_bytes() == BIG


def test_age_alone_can_decrypt_it(archive: Any, encrypted: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(encrypted)) as tar:
        key, payload = (tar.extractfile(name).read() for name in ("key.age", "backup.tar.age"))  # type: ignore[union-attr]
    from backup.encryption import _identity

    identity = _identity(key, PASSPHRASE)  # tries again where the machine is busy
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(payload, [identity]))) as tar:
        assert tar.getnames()[0] == "manifest.json"
        assert tar.getnames()[-1] == "checksums.json"


def test_a_wrong_or_missing_passphrase_is_named(archive: Any, encrypted: bytes) -> None:
    assert "The passphrase is wrong" in problem(archive, encrypted, PASSPHRASE + "!")
    assert "a passphrase is needed" in problem(archive, encrypted, None)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_damaged(archive: Any, encrypted: bytes, share: float) -> None:
    said = problem(archive, encrypted[: int(len(encrypted) * share)])
    assert "damaged" in said or "not a backup" in said


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_changed_byte_anywhere_is_found(
    archive: Any, encrypted: bytes, passphrase: str | None
) -> None:
    data = encrypted if passphrase else written(archive, None)
    places = random.Random(2)
    for _ in range(3 if passphrase else 20):
        at = places.randrange(2048, len(data) - 20_480)
        changed = bytearray(data)
        changed[at] ^= 1
        said = problem(archive, bytes(changed), passphrase)
        assert "damaged" in said or "not a backup" in said


def test_another_file_is_not_a_backup(archive: Any) -> None:
    for data in (b"", b"hello", BIG, bytes(20_000)):
        said = problem(archive, data)
        assert "is not a backup" in said
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("readme"))
    assert "is not a backup" in problem(archive, other.getvalue())


@pytest.mark.parametrize("name", ["../secrets/x", "/etc/passwd", "instance/../../x"])
def test_a_path_out_of_the_folders_is_refused(archive: Any, name: str) -> None:
    target = io.BytesIO()
    archive.write(target, {"app": "Microblog"}, lambda writer: writer.add_bytes(name, b"x"), None)
    assert "not a backup" in problem(archive, target.getvalue(), None)


def test_a_later_format_says_which_version_is_needed(
    archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FORMAT", 2)
    data = written(archive, None)
    monkeypatch.setattr(archive, "FORMAT", 1)
    assert "format 2, and this version reads 1" in problem(archive, data, None)


def test_an_error_while_the_contents_are_read_is_raised(archive: Any) -> None:
    def fail(writer: Any) -> None:
        writer.add_bytes("instance/big", BIG)
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        archive.write(io.BytesIO(), {}, fail, PASSPHRASE)


def test_the_manifest_is_the_first_member_and_names_the_format(archive: Any) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(archive, None))) as tar:
        content = tar.extractfile("manifest.json")
        assert content is not None
        assert json.load(content) == {"format": 1, "app": "Microblog"}


def test_a_path_through_a_link_is_refused(archive: Any) -> None:
    def add(writer: Any) -> None:
        writer.add_link("instance/link", "/run/secrets")
        writer.add_bytes("instance/link/secret_key", b"mine")

    target = io.BytesIO()
    archive.write(target, {"app": "Microblog"}, add, None)
    text = problem(archive, target.getvalue(), None)
    assert "it contains 'instance/link/secret_key'" in text


def test_a_disk_that_is_full_ends_a_step_with_a_message(
    archive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backup import __main__ as steps

    def fail(step: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steps, "replace", fail)
    monkeypatch.setattr("sys.argv", ["backup", "swap"])
    with pytest.raises(SystemExit, match="No space left on device"):
        steps.main()
