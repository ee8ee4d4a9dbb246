"""Which process is the last on its machine that stops."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from flask_mayday.courier.presence import Presence
from flask_mayday.spool.ownership import open_file


def test_only_the_last_to_leave_is_the_last(tmp_path: Path) -> None:
    first, second = Presence(tmp_path), Presence(tmp_path)
    first.enter()
    second.enter()
    assert not first.leave()
    assert second.leave()


def test_a_process_that_enters_while_another_leaves_is_noticed(tmp_path: Path) -> None:
    lock = open_file(tmp_path / "couriers.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)  # as in leave()
    entering, other = Presence(tmp_path), Presence(tmp_path)
    thread = threading.Thread(target=entering.enter, daemon=True)
    thread.start()
    thread.join(0.5)  # it ends only if it does not wait for the lock
    os.close(lock)
    thread.join(60)
    other.enter()
    assert not other.leave()
    assert entering.leave()


def test_a_process_that_never_entered_is_not_the_last(tmp_path: Path) -> None:
    assert not Presence(tmp_path).leave()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    presence = Presence(tmp_path / "file" / "folder")
    presence.enter()
    assert not presence.leave()
