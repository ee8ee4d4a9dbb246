"""What root makes in the spool belongs to the spool's owner."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from flask_mayday.courier.lease import Lease
from flask_mayday.courier.presence import Presence
from flask_mayday.spool.database import Database
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.ownership import open_file
from flask_mayday.spool.starts import MAX_BYTES, START, note_server_event
from flask_mayday.watch.state import StateFile, WatchState
from tests.support.reports import a_report


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The paths that root has given away; these tests may run as any user."""
    found: set[Path] = set()

    def fchown(descriptor: int, user: int, group: int) -> None:
        del user, group
        found.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "lchown", lambda path, user, group: found.add(path))
    return found


def test_what_root_makes_in_the_spool_belongs_to_its_owner(
    given: set[Path], tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "instance" / "spool", 1 << 20)
    outbox.put(a_report("a job of root failed"), mailable=True)
    note_server_event(outbox.folder, START)
    StateFile(outbox.folder).save(WatchState())
    presence, lease = Presence(outbox.folder), Lease(outbox.folder)
    presence.enter()
    assert lease.acquire()
    with closing(Database(outbox.path)):
        made = set(tmp_path.rglob("*"))
        by_sqlite = {path for path in made if path.name.endswith(("-wal", "-shm"))}
        state = outbox.folder / "watch.json"
        assert made - by_sqlite - given == {state}
        assert state.with_suffix(".new") in given  # which was renamed
    lease.release()
    presence.leave()
    outbox.close()


def test_root_follows_no_link_out_of_the_spool(given: set[Path], tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    (tmp_path / "courier.lock").symlink_to(foreign)
    with pytest.raises(OSError, match="symbolic link"):
        open_file(tmp_path / "courier.lock")
    assert not foreign.exists()
    assert given == set()


def test_a_link_in_the_place_of_a_file_of_starts_is_not_followed(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"line\n" * MAX_BYTES)
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / socket.gethostname()).symlink_to(foreign)
    note_server_event(tmp_path, START)
    assert foreign.stat().st_size == 5 * MAX_BYTES
