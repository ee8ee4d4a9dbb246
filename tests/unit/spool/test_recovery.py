"""A damaged database: all that SQLite can read is copied into the new one."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flask_mayday.spool import recovery
from flask_mayday.spool.database import folder_lock
from flask_mayday.spool.grouping import GroupedInserts
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.recovery import expire, quarantine, recover
from flask_mayday.spool.stored_report import StoredReport
from tests.support.reports import a_mail, a_report, in_database

REPORTS = 100
MESSAGE = "x" * 4000
PAGE = 4096  # bytes
LEAF = 0x0D  # the first byte of a table leaf page, https://www.sqlite.org/fileformat2.html


def break_pages(path: Path, first: int, count: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(b"\xff" * PAGE * count)


@pytest.fixture
def whole(outbox: Outbox) -> Outbox:
    """An outbox with a hundred reports, of which the first and the third are mailed."""
    for number in range(REPORTS):
        outbox.put(a_report(MESSAGE, fingerprint=f"kind {number}"), mailable=True)
    with closing(Mailbox(outbox)) as mailbox:
        mailbox.take_incoming()
        for kind, state in (("kind 0", "delivered"), ("kind 1", "waiting"), ("kind 2", "failed")):
            a_mail(mailbox, kind, state, count=1)
        mailbox.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return outbox


@pytest.fixture
def broken(whole: Outbox) -> Outbox:
    """The same outbox with ten unreadable pages in the middle of its database."""
    break_pages(whole.path, whole.path.stat().st_size // PAGE // 2, 10)
    return whole


def kinds(mailbox: Mailbox) -> list[str]:
    return [kind for (kind,) in mailbox.connection.execute("SELECT fingerprint FROM reports")]


def quarantined_in(outbox: Outbox) -> list[str]:
    return sorted(path.name for path in outbox.folder.glob("reports.db.*"))


def test_readable_reports_that_were_not_delivered_are_recovered(
    broken: Outbox, mailbox_of: Callable[[], Mailbox], caplog: pytest.LogCaptureFixture
) -> None:
    quarantine(broken.path)
    mailbox = mailbox_of()
    recover(mailbox)
    saved = kinds(mailbox)
    assert 80 < len(saved) < 98
    assert {"kind 1", "kind 3", "kind 99"} <= set(saved)
    assert not {"kind 0", "kind 2"} & set(saved)
    assert f"{len(saved)} unmailed error reports were recovered" in caplog.text


def test_a_broken_page_loses_only_its_own_reports(whole: Outbox) -> None:
    """Any page except the first two: the schema and the root of the table."""
    content = whole.path.read_bytes()
    for page in range(2, len(content) // PAGE):
        whole.path.write_bytes(content)
        break_pages(whole.path, page)
        quarantine(whole.path)
        with closing(Mailbox(whole)) as mailbox:
            recover(mailbox)
            assert len(kinds(mailbox)) >= 98 - 12, f"page {page}"
        whole.path.unlink()


def test_a_page_with_wrong_content_loses_only_its_own_reports(whole: Outbox) -> None:
    """Random bytes in a leaf page, which also change row numbers."""
    content = whole.path.read_bytes()
    random_bytes = random.Random(7).randbytes
    leaves = [page for page in range(2, len(content) // PAGE) if content[page * PAGE] == LEAF]
    for start in (page * PAGE + part for page in leaves for part in range(0, PAGE, 512)):
        whole.path.write_bytes(content[:start] + random_bytes(512) + content[start + 512 :])
        quarantine(whole.path)
        with closing(Mailbox(whole)) as mailbox:
            recover(mailbox)
            assert len(kinds(mailbox)) >= 98 - 12, f"from byte {start} on"
        whole.path.unlink()
    assert len(leaves) > 10


def test_reports_with_unreadable_mails_are_mailed_again(
    whole: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'mails'"
        (root,) = connection.execute(query).fetchone()
    break_pages(whole.path, root - 1)
    quarantine(whole.path)
    mailbox = mailbox_of()
    recover(mailbox)
    assert len(kinds(mailbox)) == REPORTS


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_waiting_mail_is_recovered_if_some_of_its_reports_are_missing(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox], left: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Reports in a mail are evicted first when a spool is full, because the mail counts them."""
    for number in range(3):
        outbox.put(a_report(f"report {number}", fingerprint="digest"), mailable=True)
    with closing(Mailbox(outbox)) as mailbox:
        mailbox.take_incoming()
        a_mail(mailbox, "digest", "waiting", created=1.0, count=3)
        (before,) = mailbox.due(2.0, 300)
        query = "DELETE FROM reports WHERE id IN (SELECT id FROM reports ORDER BY id LIMIT ?)"
        mailbox.connection.execute(query, (3 - left,))
    for _ in range(2):
        quarantine(outbox.path)
        mailbox = mailbox_of()
        recover(mailbox)
        assert "3 unmailed error reports were recovered" in caplog.text
        (mail,) = mailbox.due(2.0, 300)
        assert (mail.content, mail.recipients) == (before.content, before.recipients)
        assert kinds(mailbox) == ["digest"] * left
        assert mailbox.pending_errors(2.0) == []
        caplog.clear()
    for kept in outbox.folder.glob("reports.db.corrupt-*"):
        kept.rename(str(kept).replace("corrupt", "broken"))
    recover(mailbox)  # as after a kill before the database was renamed
    assert len(mailbox.due(2.0, 300)) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_broken_mail_is_created_again_if_it_has_all_its_reports(
    whole: Outbox, mailbox_of: Callable[[], Mailbox], broken: bool
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        if broken:
            connection.execute("UPDATE mails SET content = x'78ff'")
    quarantine(whole.path)
    mailbox = mailbox_of()
    recover(mailbox)
    now = time.time()
    assert len(mailbox.due(now, 300)) == (0 if broken else 1)
    assert ("kind 1" in [errors.fingerprint for errors in mailbox.pending_errors(now)]) == broken


def test_a_mail_with_a_damaged_time_is_recovered_with_the_current_time(
    whole: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        connection.execute("UPDATE mails SET created = 1e300")
    quarantine(whole.path)
    mailbox = mailbox_of()
    recover(mailbox)
    since = mailbox.waiting_since()
    assert since is not None
    assert abs(since - time.time()) < 60


def test_the_number_of_dropped_errors_is_recovered(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    with closing(Mailbox(outbox)) as mailbox:
        mailbox.add_to_counter("dropped", 7)
    quarantine(outbox.path)
    mailbox = mailbox_of()
    mailbox.add_to_counter("dropped", 1)
    for _ in range(2):  # as after a kill before the database was renamed
        recover(mailbox)
        for kept in outbox.folder.glob("reports.db.corrupt-*"):
            kept.rename(str(kept).replace("corrupt", "broken"))
    assert mailbox.counter("dropped") == 8


def test_a_file_that_is_not_a_database_is_kept(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox], caplog: pytest.LogCaptureFixture
) -> None:
    content = b"this is no database" * 1000
    outbox.folder.mkdir()
    outbox.path.write_bytes(content)
    quarantine(outbox.path)
    outbox.put(a_report("after"), mailable=True)
    mailbox = mailbox_of()
    recover(mailbox)
    mailbox.take_incoming()
    (kept,) = outbox.folder.glob("reports.db.corrupt-*")
    assert kept.read_bytes() == content
    assert str(kept) in caplog.text
    assert in_database(outbox) == ["after"]


def test_a_recovery_interrupted_by_a_kill_is_continued_by_the_next_courier(
    broken: Outbox,
    mailbox_of: Callable[[], Mailbox],
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    insert = GroupedInserts.insert

    def insert_one(inserts: GroupedInserts, report: StoredReport, *rest: frozenset[str]) -> None:
        insert(inserts, report, *rest)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroupedInserts, "insert", insert_one)
            quarantine(broken.path)
            recover(Mailbox(broken))

    assert in_child(killed) == -signal.SIGKILL
    mailbox = mailbox_of()
    recover(mailbox)
    assert {"kind 3", "kind 99"} <= set(kinds(mailbox))
    recover(mailbox)
    assert len(kinds(mailbox)) == len(set(kinds(mailbox)))


def test_a_recovery_killed_after_copying_is_not_repeated(
    broken: Outbox, mailbox_of: Callable[[], Mailbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine(broken.path)

    def killed(*paths: Path) -> Path:
        raise KeyboardInterrupt

    mailbox = mailbox_of()
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            recover(mailbox)
    before = kinds(mailbox)
    recover(mailbox)
    assert kinds(mailbox) == before != []


def test_recovery_on_a_full_disk_is_continued_by_the_next_courier(
    broken: Outbox, mailbox_of: Callable[[], Mailbox], caplog: pytest.LogCaptureFixture
) -> None:
    quarantine(broken.path)
    mailbox = mailbox_of()
    mailbox.connection.execute("PRAGMA max_page_count = 20")
    recover(mailbox)
    assert "cannot be recovered yet: database or disk is full" in caplog.text
    assert kinds(mailbox) == []
    assert [".broken-" in name for name in quarantined_in(broken)] == [True]
    again = mailbox_of()
    recover(again)
    assert "kind 99" in kinds(again)


def test_a_database_that_an_earlier_version_is_opening_is_moved_later(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    mailbox_of()
    opening = threading.Event()

    def open_slowly() -> None:
        with folder_lock(outbox.folder, fcntl.LOCK_SH):
            opening.set()
            time.sleep(0.2)
            assert outbox.path.exists()

    other = threading.Thread(target=open_slowly)
    other.start()
    opening.wait()
    quarantine(outbox.path)
    other.join()
    assert not outbox.path.exists()


def test_quarantining_databases_during_reports_loses_nothing(
    outbox: Outbox,
    in_child: Callable[[Callable[[], object]], int],
    wait_until: Callable[..., object],
) -> None:
    started, stop, count = (outbox.folder.parent / name for name in ("started", "stop", "count"))

    def write() -> None:
        started.touch()
        number = 0
        while not stop.exists():
            outbox.put(a_report(f"{number}"), mailable=True)
            number += 1
            time.sleep(0.001)  # otherwise the spool fills up
        count.write_text(str(number))

    writer = threading.Thread(target=in_child, args=(write,))
    writer.start()
    wait_until(started.exists, "the other process")
    found: set[str] = set()
    try:
        for _ in range(20):
            with closing(Mailbox(outbox)) as mailbox:
                recover(mailbox)
                mailbox.take_incoming()
                found |= set(in_database(outbox))
            quarantine(outbox.path)
    finally:
        stop.touch()
        writer.join()
    with closing(Mailbox(outbox)) as mailbox:
        recover(mailbox)
        mailbox.take_incoming()
    found |= set(in_database(outbox))
    assert found == {str(number) for number in range(int(count.read_text()))}


def test_a_quarantined_database_expires_by_the_time_of_its_quarantine(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    outbox.folder.mkdir()
    outbox.path.write_bytes(b"this is no database" * 1000)
    os.utime(outbox.path, (1, 1))
    quarantine(outbox.path)
    recover(mailbox_of())
    expire(outbox, time.time() - 3600)
    assert len(quarantined_in(outbox)) == 1


def test_a_file_that_cannot_be_deleted_does_not_stop_expiry(outbox: Outbox) -> None:
    incoming = outbox.incoming.folder
    for name in ("a.unreadable", "c.unreadable"):
        (incoming / name).mkdir(parents=True)
    (incoming / "b.unreadable").touch()
    outbox.incoming.expire(time.time() + 3600)
    assert not (incoming / "b.unreadable").exists()


def test_the_last_quarantined_database_is_kept(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    outbox.folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        (outbox.folder / f"reports.db.corrupt-20200101T000000Z{suffix}").touch()
    outbox.path.write_bytes(b"this is no database" * 1000)
    quarantine(outbox.path)
    recover(mailbox_of())
    (kept,) = quarantined_in(outbox)
    assert kept.startswith("reports.db.corrupt-")
    assert "20200101" not in kept


def test_the_wal_is_quarantined_with_its_database(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox]
) -> None:
    """Reports only in the -wal file are recovered, and SQLite does not apply it to the new one."""
    outbox.put(a_report("in the wal"), mailable=True)
    mailbox_of().take_incoming()
    assert Path(f"{outbox.path}-wal").stat().st_size > 0
    quarantine(outbox.path)
    mailbox = mailbox_of()
    assert kinds(mailbox) == []
    recover(mailbox)
    assert in_database(outbox) == ["in the wal"]


@pytest.mark.parametrize("message_id", ["NULL", "x'00'", "'<same@example.com>'"])
def test_a_mail_with_a_damaged_message_id_does_not_stop_the_recovery(
    outbox: Outbox, mailbox_of: Callable[[], Mailbox], message_id: str
) -> None:
    with closing(Mailbox(outbox)) as mailbox:
        for number in range(2):
            outbox.put(a_report(str(number), fingerprint=str(number)), mailable=True)
            mailbox.take_incoming()
            a_mail(mailbox, str(number), "waiting", count=1)
        mailbox.connection.executescript(
            "ALTER TABLE mails RENAME TO old;"
            "CREATE TABLE mails AS SELECT * FROM old;"
            f"UPDATE mails SET message_id = {message_id}"
        )
    quarantine(outbox.path)
    recovered = mailbox_of()
    recover(recovered)
    assert in_database(outbox) == ["0", "1"]
    assert not list(outbox.folder.glob("*.broken-*"))


def test_the_lock_of_a_folder_ends_with_an_error_inside(outbox: Outbox) -> None:
    """Also where a child that was forked meanwhile has the same lock open."""
    outbox.folder.mkdir()
    reader, writer = os.pipe()
    children = []

    def fail() -> None:
        with folder_lock(outbox.folder, fcntl.LOCK_EX):
            children.append(os.fork())
            if children == [0]:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    try:
        with folder_lock(outbox.folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            pass
    finally:
        os.close(writer)
        os.waitpid(children[0], 0)
        os.close(reader)
