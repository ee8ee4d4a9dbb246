"""The folders of a backup: copied consistently, swapped as a whole, and put back as a whole."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "docker")
    monkeypatch.setattr(os, "chown", lambda *args, **kwargs: None)
    from backup import trees

    return trees


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A volume of each kind: secrets, a spool, and an instance folder with a database in use."""
    found = {name: tmp_path / name for name in ("secrets", "spool", "instance")}
    for folder in found.values():
        folder.mkdir()
    (found["secrets"] / "secret_key").write_text("old key")
    (found["secrets"] / ".belongs_to").write_text("Microblog")
    (found["secrets"] / ".web_login").write_text("microblog_web")
    (found["instance"] / "uploads").mkdir()
    (found["instance"] / "uploads" / "a").write_text("old upload")
    (found["instance"] / "uploads" / "link").symlink_to("a")
    (found["instance"] / "uploads" / ".rotation").write_text("the app's own file")
    return found


def backed_up(trees: Any, folders: dict[str, Path], *, plain: bool = False) -> bytes:
    from backup import archive

    target = io.BytesIO()
    archive.write(
        target, {}, lambda writer: trees.add_all(writer, folders, plain=plain), passphrase=None
    )
    return target.getvalue()


def unpack(trees: Any, folders: dict[str, Path], data: bytes) -> None:
    from backup import archive

    with archive.open_archive(io.BytesIO(data), None) as (_, members):
        for info, content in members:
            trees.unpack(folders, info, content)


def state(folders: dict[str, Path]) -> dict[str, str]:
    """Return every file with its content; of a link, its target."""
    found = {}
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            relative = f"{name}/{path.relative_to(folder)}"
            if path.is_symlink():
                found[relative] = os.readlink(path)
            elif path.is_file() and path.suffix != ".db":
                found[relative] = path.read_text()
    return found


def test_restored_data_replaces_the_present_data(trees: Any, folders: dict[str, Path]) -> None:
    before = state(folders)
    data = backed_up(trees, folders)
    (folders["secrets"] / "secret_key").write_text("new key")
    (folders["secrets"] / ".rotation").write_text("{}")
    (folders["instance"] / "uploads" / "b").write_text("new upload")
    unpack(trees, folders, data)
    assert state(folders)["secrets/secret_key"] == "new key"
    trees.swap(folders)
    trees.commit(folders)
    after = state(folders)
    assert {name: text for name, text in after.items() if "spool" not in name} == before


@pytest.mark.parametrize("moves", range(9))
def test_a_swap_that_is_interrupted_anywhere_can_be_undone(
    trees: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    data = backed_up(trees, folders)
    (folders["secrets"] / "secret_key").write_text("new key")
    (folders["instance"] / "uploads" / "b").write_text("new upload")
    before = {name: text for name, text in state(folders).items() if "spool" not in name}
    unpack(trees, folders, data)
    rename, done = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trees.swap(folders)
    monkeypatch.undo()
    monkeypatch.setattr(os, "chown", lambda *args, **kwargs: None)
    assert trees.is_swapped(folders)
    trees.put_back(folders)
    assert not trees.is_swapped(folders)
    after = {name: text for name, text in state(folders).items() if "spool" not in name}
    assert after == before


def test_a_database_in_use_is_copied_with_its_committed_rows_only(
    trees: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(folders["instance"] / "app.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE visit (id INTEGER)")
        database.execute("INSERT INTO visit VALUES (1)")
        database.commit()
        database.execute("INSERT INTO visit VALUES (2)")
        assert (folders["instance"] / "app.db-wal").stat().st_size
        data = backed_up(trees, folders)
    unpack(trees, folders, data)
    restored = folders["instance"] / ".restored"
    assert {path.name for path in restored.iterdir()} == {"app.db", "uploads"}
    with closing(sqlite3.connect(restored / "app.db")) as copy:
        assert copy.execute("SELECT id FROM visit").fetchall() == [(1,)]


def test_a_folder_that_is_deleted_during_a_backup_does_not_stop_it(
    trees: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders["instance"] / "cache").mkdir()
    (folders["instance"] / "later").write_text("a file")
    listed = Path.iterdir

    def deleted_first(path: Path) -> Iterator[Path]:
        if path.name == "cache":
            path.rmdir()
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", deleted_first)
    data = backed_up(trees, folders)
    monkeypatch.undo()
    monkeypatch.setattr(os, "chown", lambda *args, **kwargs: None)
    unpack(trees, folders, data)
    assert (folders["instance"] / ".restored" / "later").read_text() == "a file"


def test_what_a_killed_deletion_has_left_is_not_put_back(
    trees: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(trees, folders, backed_up(trees, folders))
    trees.swap(folders)
    monkeypatch.setattr(trees.shutil, "rmtree", lambda *args, **kwargs: None)
    trees.commit(folders)
    assert not trees.is_swapped(folders)


def test_a_plain_backup_holds_no_secret(trees: Any, folders: dict[str, Path]) -> None:
    data = backed_up(trees, folders, plain=True)
    assert b"old key" not in data
    assert b"old upload" in data
    unpack(trees, folders, data)
    trees.swap(folders)
    assert state(folders)["secrets/secret_key"] == "old key"


def test_reports_that_wait_are_kept_when_the_spool_is_replaced(
    trees: Any, folders: dict[str, Path]
) -> None:
    data = backed_up(trees, folders)
    waiting = folders["spool"] / "incoming" / "1.lines"
    waiting.parent.mkdir(exist_ok=True)
    waiting.write_text("a report\n")
    unpack(trees, folders, data)
    trees.swap(folders)
    trees.commit(folders)
    assert waiting.read_text() == "a report\n"
