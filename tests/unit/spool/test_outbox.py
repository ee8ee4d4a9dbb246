"""The outbox keeps reports through failures of the disk, the database and the process."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.memory import MemoryBacklog
from flask_mayday.spool.outbox import LOCK_TIMEOUT, NotDurableError, Outbox
from tests.support.reports import a_report, in_database, in_files

QUOTA = 16 << 20  # bytes


@contextmanager
def locked(outbox: Outbox) -> Iterator[None]:
    """Let another connection hold the database's write lock."""
    with closing(sqlite3.connect(outbox.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_nothing_is_opened_before_the_first_report(outbox: Outbox) -> None:
    assert not outbox.folder.exists()


def test_a_report_is_written_to_a_file_of_its_process_at_once(outbox: Outbox) -> None:
    outbox.put(a_report("boom"), mailable=True)
    assert in_files(outbox) == ["boom"]
    (file,) = outbox.incoming.waiting()
    assert f"-{os.getpid()}-" in file.name
    assert not outbox.path.exists()


def test_a_report_that_arrives_twice_is_kept_once(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    same = a_report()
    for _ in range(2):
        outbox.put(same, mailable=True)
    mailbox_of().take_incoming()
    assert len(in_database(outbox)) == 1


def test_a_database_of_a_later_version_is_used_unchanged(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    mailbox_of().connection.executescript(
        "ALTER TABLE reports ADD COLUMN colour TEXT; PRAGMA user_version = 9;"
    )
    outbox.put(a_report("boom"), mailable=True)
    later = mailbox_of()
    later.take_incoming()
    assert in_database(outbox) == ["boom"]
    assert later.connection.execute("PRAGMA user_version").fetchone() == (9,)


# The schema as created by version 2.
SECOND_VERSION = """
CREATE TABLE reports (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, time REAL NOT NULL,
    fingerprint TEXT NOT NULL, request_id TEXT, body TEXT NOT NULL,
    mailable INTEGER NOT NULL DEFAULT 1, mail_id INTEGER REFERENCES mails(id));
CREATE TABLE mails (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    fingerprint TEXT, created REAL NOT NULL, count INTEGER NOT NULL, subject TEXT NOT NULL,
    content BLOB NOT NULL, recipients TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'waiting',
    tries INTEGER NOT NULL DEFAULT 0, next_try REAL NOT NULL, finished REAL, error TEXT);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
PRAGMA user_version = 2;
"""
INSERT = (
    "INSERT OR IGNORE INTO reports (uuid, time, fingerprint, request_id, body, mailable)"
    " VALUES ('0', 1.0, 'f', NULL, ?, 1)"
)


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_of_an_earlier_version_is_extended_and_keeps_its_rows(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox], version: int
) -> None:
    outbox.folder.mkdir()
    with closing(sqlite3.connect(outbox.path, isolation_level=None)) as old:
        old.executescript(SECOND_VERSION)
        if version == 1:
            old.executescript("DROP TABLE counters; PRAGMA user_version = 1;")
        old.execute(INSERT, (a_report("before").to_json(),))
        mailbox = mailbox_of()
        outbox.put(a_report("after"), mailable=True)
        mailbox.take_incoming()
        assert in_database(outbox) == ["before", "after"]
        assert mailbox.refused_mails() == (0, [])
        assert mailbox.counter("dropped") == 0
        assert mailbox.connection.execute("PRAGMA user_version").fetchone() == (6,)


def test_an_earlier_version_can_still_insert_into_the_database(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    """Old and new containers share the spool during a rolling update."""
    mailbox = mailbox_of()
    changes = mailbox.change_number()
    with closing(sqlite3.connect(outbox.path, timeout=0.05, isolation_level=None)) as old:
        assert old.execute("PRAGMA user_version").fetchone()[0] >= 2
        old.execute(INSERT, (a_report("old").to_json(),))
    assert mailbox.change_number() != changes  # so the courier checks at once
    assert [errors.fingerprint for errors in mailbox.pending_errors(time.time())] == ["f"]


def test_a_locked_or_broken_database_does_not_affect_requests(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    mailbox_of()
    with locked(outbox):
        outbox.put(a_report("while locked"), mailable=True)
    outbox.path.write_bytes(b"this is no database" * 1000)
    outbox.put(a_report("while broken"), mailable=True)
    assert in_files(outbox) == ["while broken", "while locked"]


def test_a_deleted_folder_is_created_again(outbox: Outbox) -> None:
    """Otherwise the report would go into the open but deleted file."""
    outbox.put(a_report("before"), mailable=True)
    shutil.rmtree(outbox.folder)
    outbox.put(a_report("after"), mailable=True)
    assert in_files(outbox) == ["after"]


def test_the_courier_notices_a_deleted_database(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    mailbox = mailbox_of()
    assert mailbox.is_current()
    outbox.path.unlink()
    assert not mailbox.is_current()


def test_closing_a_replaced_database_keeps_the_wal_of_the_new_one(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    """SQLite deletes the -wal file by name when the last connection is closed."""
    old = Mailbox(outbox)
    for path in outbox.folder.glob("reports.db*"):
        path.unlink()
    new = mailbox_of()
    outbox.put(a_report(), mailable=True)
    new.take_incoming()
    old.close()
    assert Path(f"{outbox.path}-wal").exists()


def test_a_report_survives_the_sigkill_of_its_process(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def put_and_die() -> None:
        outbox.put(a_report("last words"), mailable=True)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(put_and_die) == -signal.SIGKILL
    assert in_files(outbox) == ["last words"]


def test_a_frozen_process_does_not_stop_others_from_reporting(
    outbox: Outbox, wait_until: Callable[..., object]
) -> None:
    """As in a paused container, which keeps its locks while it is frozen."""
    outbox.put(a_report("before"), mailable=True)
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.support.reports import a_report\n"
        "from flask_mayday.spool.outbox import Outbox\n"
        f"box = Outbox(Path({str(outbox.folder)!r}), 1 << 24)\n"
        "while True: box.put(a_report('busy'), mailable=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as busy:
        try:
            wait_until(lambda: "busy" in in_files(outbox), "the other process")
            busy.send_signal(signal.SIGSTOP)
            for number in range(20):
                begun = time.monotonic()
                outbox.put(a_report(f"meanwhile {number}"), mailable=True)
                assert time.monotonic() - begun < 4  # 100 ms, on a quiet machine
        finally:
            busy.kill()
    assert {f"meanwhile {number}" for number in range(20)} < set(in_files(outbox))


def test_a_thread_that_waits_too_long_for_the_others_writes_a_file_of_its_own(
    outbox: Outbox,
) -> None:
    with outbox._lock:
        begun = time.monotonic()
        outbox.put(a_report("boom"), mailable=True)
        assert LOCK_TIMEOUT <= time.monotonic() - begun < 10
    assert in_files(outbox) == ["boom"]
    outbox.put(a_report("after"), mailable=True)
    assert len(outbox.incoming.waiting()) == 2


def test_a_folder_that_cannot_be_written_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outbox = Outbox(tmp_path / "file" / "spool", QUOTA)
    with pytest.raises(NotDurableError, match="Not a directory"):
        outbox.put(a_report(), mailable=True)


def test_reports_stay_in_memory_until_the_disk_is_fixed(outbox: Outbox) -> None:
    outbox.folder.touch()  # a file where the folder should be
    for number in range(3):
        with pytest.raises(NotDurableError):
            outbox.put(a_report(f"held {number}"), mailable=True)
    outbox.flush()
    assert len(outbox.backlog) == 3
    assert outbox.trouble() == "cannot be written; 3 reports are held in memory only"
    outbox.folder.unlink()
    outbox.flush()
    assert in_files(outbox) == ["held 0", "held 1", "held 2"]
    assert len(outbox.backlog) == 0
    assert outbox.trouble() == ""


def test_a_written_report_also_flushes_one_held_in_memory(outbox: Outbox) -> None:
    """In a process without a courier nothing else would write it."""
    outbox.folder.touch()
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    outbox.put(a_report("after"), mailable=True)
    assert in_files(outbox) == ["after", "held"]


def test_reports_that_exceed_the_memory_backlog_are_counted(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.folder.touch()
    outbox.backlog = MemoryBacklog(5000)  # bytes
    for number in range(100):
        with pytest.raises(NotDurableError):
            outbox.put(a_report(f"{number} of them"), mailable=True)
    outbox.folder.unlink()
    outbox.flush()
    kept = len(in_files(outbox))
    assert 5 < kept < 50
    assert f"{100 - kept} error reports were dropped" in caplog.text
    assert "The log still has them" in caplog.text
    caplog.clear()
    outbox.flush()
    assert caplog.text == ""


def test_a_child_writes_reports_held_by_its_parent_once(
    outbox: Outbox,
    mailbox_of: Callable[[], Mailbox],
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    """gunicorn's master has no courier that writes it later, but its forked workers have."""
    outbox.folder.touch()
    with pytest.raises(NotDurableError):
        outbox.put(a_report("held"), mailable=True)
    outbox.folder.unlink()
    assert in_child(outbox.flush) == 0
    assert in_files(outbox) == ["held"]
    outbox.flush()
    mailbox_of().take_incoming()
    assert in_database(outbox) == ["held"]


def test_a_child_does_not_count_reports_dropped_by_its_parent(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.folder.touch()
    outbox.backlog = MemoryBacklog(0)
    with pytest.raises(NotDurableError):
        outbox.put(a_report("lost"), mailable=True)

    def look() -> None:
        assert outbox.backlog.take_dropped() == 0

    assert in_child(look) == 0
    assert outbox.backlog.take_dropped() == 1


def test_the_size_of_the_files_is_limited(outbox: Outbox) -> None:
    small = Outbox(outbox.folder, 200_000)

    def put_many() -> None:
        for _ in range(1000):
            small.put(a_report("x" * 1000), mailable=True)

    words = r"incoming is full \(its share of SPOOL_MAX_BYTES: 50000\)"
    with pytest.raises(NotDurableError, match=words):
        put_many()
    size = sum(path.stat().st_size for path in small.incoming.waiting())
    assert 25_000 < size <= 50_000
    small.close()


def test_threads_do_not_lose_reports(outbox: Outbox) -> None:
    def put(name: int) -> None:
        for number in range(50):
            outbox.put(a_report(f"{name} {number}"), mailable=True)

    threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.flush()
    assert len(set(in_files(outbox))) == 200


def test_parent_and_child_can_both_write_after_a_fork(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.put(a_report("parent before"), mailable=True)

    def child() -> None:
        for number in range(20):
            outbox.put(a_report(f"child {number}"), mailable=True)

    assert in_child(child) == 0
    outbox.put(a_report("parent after"), mailable=True)
    assert len(in_files(outbox)) == 22
    assert len(outbox.incoming.waiting()) == 2  # each has a file of its own


def test_a_child_forked_while_another_thread_writes_can_write_too(
    outbox: Outbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    """The lock is held during the fork by a thread that does not exist in the child."""
    with outbox._lock:
        assert in_child(lambda: outbox.put(a_report("child"), mailable=True)) == 0
    assert in_files(outbox) == ["child"]
