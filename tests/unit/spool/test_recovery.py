"""A broken database: what can be read of it is in the new one, whatever happens meanwhile."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from flask_mayday.spool import quota as room
from flask_mayday.spool import recovery as salvage_module
from flask_mayday.spool.database import Row, folder_lock, insert, waiting_since
from flask_mayday.spool.mailbox import Queue
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.recovery import purge, salvage, set_aside
from tests.support.reports import a_mail, a_report, in_database

REPORTS = 100
MESSAGE = "x" * 4000
PAGE = 4096  # bytes
LEAF = 0x0D  # the first byte of a leaf of a table, https://www.sqlite.org/fileformat2.html


def break_pages(path: Path, first: int, count: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(first * PAGE)
        file.write(b"\xff" * PAGE * count)


@pytest.fixture
def whole(outbox: Outbox) -> Outbox:
    """An outbox with a hundred reports, of which the first and the third are told of."""
    for number in range(REPORTS):
        outbox.put(a_report(MESSAGE, fingerprint=f"kind {number}"), mailable=True)
    outbox.close()
    with closing(Queue(outbox)) as queue:
        for kind, state in (("kind 0", "delivered"), ("kind 1", "waiting"), ("kind 2", "failed")):
            a_mail(queue, kind, state, count=1)
        queue.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return outbox


@pytest.fixture
def broken(whole: Outbox) -> Outbox:
    """The same with ten pages that cannot be read, in the middle."""
    break_pages(whole.path, whole.path.stat().st_size // PAGE // 2, 10)
    return whole


def kinds(queue: Queue) -> list[str]:
    return [kind for (kind,) in queue.connection.execute("SELECT fingerprint FROM reports")]


def set_aside_in(outbox: Outbox) -> list[str]:
    return sorted(path.name for path in outbox.folder.glob("reports.db.*"))


def test_what_nobody_was_told_of_and_can_be_read_is_saved(
    broken: Outbox, queue_of: Callable[[], Queue], caplog: pytest.LogCaptureFixture
) -> None:
    set_aside(broken.path)
    queue = queue_of()
    salvage(queue)
    saved = kinds(queue)
    assert 80 < len(saved) < 98
    assert {"kind 1", "kind 3", "kind 99"} <= set(saved)
    assert not {"kind 0", "kind 2"} & set(saved)
    assert f"the {len(saved)} errors of the old one" in caplog.text


def test_a_broken_page_costs_the_reports_in_it(whole: Outbox) -> None:
    """Whichever it is, but for the schema's and the root of the table's tree: the first two."""
    content = whole.path.read_bytes()
    for page in range(2, len(content) // PAGE):
        whole.path.write_bytes(content)
        break_pages(whole.path, page)
        set_aside(whole.path)
        with closing(Queue(whole)) as queue:
            salvage(queue)
            assert len(kinds(queue)) >= 98 - 8, f"page {page}"
        whole.path.unlink()


def test_a_page_that_lies_costs_the_reports_in_it(whole: Outbox) -> None:
    """Random bytes in a leaf of a tree: among them are the numbers of its rows."""
    content = whole.path.read_bytes()
    random_bytes = random.Random(7).randbytes
    leaves = [page for page in range(2, len(content) // PAGE) if content[page * PAGE] == LEAF]
    for start in (page * PAGE + part for page in leaves for part in range(0, PAGE, 512)):
        whole.path.write_bytes(content[:start] + random_bytes(512) + content[start + 512 :])
        set_aside(whole.path)
        with closing(Queue(whole)) as queue:
            salvage(queue)
            assert len(kinds(queue)) >= 98 - 8, f"from byte {start} on"
        whole.path.unlink()
    assert len(leaves) > 10


def test_reports_whose_mails_cannot_be_read_are_told_of_rather_than_lost(
    whole: Outbox, queue_of: Callable[[], Queue]
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'mails'"
        (root,) = connection.execute(query).fetchone()
    break_pages(whole.path, root - 1)
    set_aside(whole.path)
    queue = queue_of()
    salvage(queue)
    assert len(kinds(queue)) == REPORTS


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_mail_that_waits_is_taken_over_where_its_reports_are_not_all_there(
    outbox: Outbox, queue_of: Callable[[], Queue], left: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of a mail that waits go first where a spool is full: the mail tells of them."""
    for number in range(3):
        outbox.put(a_report(f"report {number}", fingerprint="digest"), mailable=True)
    outbox.close()
    with closing(Queue(outbox)) as queue:
        a_mail(queue, "digest", "waiting", created=1.0, count=3)
        (before,) = queue.due(2.0, 300)
        query = "DELETE FROM reports WHERE id IN (SELECT id FROM reports ORDER BY id LIMIT ?)"
        queue.connection.execute(query, (3 - left,))
    for _ in range(2):
        set_aside(outbox.path)
        queue = queue_of()
        salvage(queue)
        assert "the 3 errors of the old one" in caplog.text
        (mail,) = queue.due(2.0, 300)
        assert (mail.content, mail.recipients) == (before.content, before.recipients)
        assert kinds(queue) == ["digest"] * left
        assert queue.groups(2.0) == []
        caplog.clear()
    for kept in outbox.folder.glob("reports.db.corrupt-*"):
        kept.rename(str(kept).replace("corrupt", "broken"))
    salvage(queue)  # as where the courier was killed before the database had its name
    assert len(queue.due(2.0, 300)) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_mail_that_is_broken_is_made_anew_where_its_reports_are_all_there(
    whole: Outbox, queue_of: Callable[[], Queue], broken: bool
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        if broken:
            connection.execute("UPDATE mails SET content = x'78ff'")
    set_aside(whole.path)
    queue = queue_of()
    salvage(queue)
    now = time.time()
    assert len(queue.due(now, 300)) == (0 if broken else 1)
    assert ("kind 1" in [group.fingerprint for group in queue.groups(now)]) == broken


def test_a_mail_whose_time_is_broken_is_taken_over_with_the_time_of_now(
    whole: Outbox, queue_of: Callable[[], Queue]
) -> None:
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        connection.execute("UPDATE mails SET created = 1e300")
    set_aside(whole.path)
    queue = queue_of()
    salvage(queue)
    since = waiting_since(queue.connection)
    assert since is not None
    assert abs(since - time.time()) < 60


def test_how_many_errors_had_to_make_room_is_not_forgotten(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report(), mailable=True)
    outbox.close()
    with closing(Queue(outbox)) as queue:
        room.note(queue, 7)
    set_aside(outbox.path)
    queue = queue_of()
    room.note(queue, 1)
    for _ in range(2):  # as where the courier is killed before the database has its name
        salvage(queue)
        for kept in outbox.folder.glob("reports.db.corrupt-*"):
            kept.rename(str(kept).replace("corrupt", "broken"))
    assert room.dropped(queue) == 8


def test_nothing_is_saved_of_what_was_no_database_and_it_is_kept(
    outbox: Outbox, queue_of: Callable[[], Queue], caplog: pytest.LogCaptureFixture
) -> None:
    content = b"this is no database" * 1000
    outbox.folder.mkdir()
    outbox.path.write_bytes(content)
    set_aside(outbox.path)
    outbox.put(a_report("after"), mailable=True)
    salvage(queue_of())
    (kept,) = outbox.folder.glob("reports.db.corrupt-*")
    assert kept.read_bytes() == content
    assert str(kept) in caplog.text
    assert in_database(outbox) == ["after"]


def test_a_courier_killed_while_it_copies_leaves_the_rest_to_the_next(
    broken: Outbox,
    queue_of: Callable[[], Queue],
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    def insert_one(connection: sqlite3.Connection, row: Row) -> None:
        insert(connection, row)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(salvage_module, "insert", insert_one)
            set_aside(broken.path)
            salvage(Queue(broken))

    assert in_child(killed) == -signal.SIGKILL
    queue = queue_of()
    salvage(queue)
    assert {"kind 3", "kind 99"} <= set(kinds(queue))
    salvage(queue)
    assert len(kinds(queue)) == len(set(kinds(queue)))


def test_a_courier_killed_after_it_has_copied_makes_the_next_copy_nothing_twice(
    broken: Outbox, queue_of: Callable[[], Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(broken.path)

    def killed(*paths: Path) -> Path:
        raise KeyboardInterrupt

    queue = queue_of()
    with monkeypatch.context() as patch:
        patch.setattr(salvage_module, "_move", killed)
        with pytest.raises(KeyboardInterrupt):
            salvage(queue)
    before = kinds(queue)
    salvage(queue)
    assert kinds(queue) == before != []


def test_where_there_is_no_room_for_its_reports_they_wait_for_the_next_courier(
    broken: Outbox, queue_of: Callable[[], Queue], caplog: pytest.LogCaptureFixture
) -> None:
    set_aside(broken.path)
    queue = queue_of()
    queue.connection.execute("PRAGMA max_page_count = 20")
    salvage(queue)
    assert "cannot be taken over yet: database or disk is full" in caplog.text
    assert kinds(queue) == []
    assert [".broken-" in name for name in set_aside_in(broken)] == [True]
    broken.put(a_report(), mailable=True)
    again = queue_of()
    salvage(again)
    assert "kind 99" in kinds(again)


def test_reports_put_while_a_database_is_moved_wait_in_a_file(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.put(a_report("before"), mailable=True)
    outbox.close()
    with folder_lock(outbox.folder, fcntl.LOCK_EX):
        outbox.put(a_report("meanwhile"), mailable=True)
    assert in_database(outbox) == ["before"]
    queue_of().take_incoming()
    assert in_database(outbox) == ["before", "meanwhile"]


def test_databases_set_aside_beside_processes_that_open_them_lose_nothing(
    outbox: Outbox,
    in_child: Callable[[Callable[[], object]], int],
    wait_until: Callable[..., object],
) -> None:
    """Opened anew after each report, as by a process that has just started."""
    started, stop, count = (outbox.folder.parent / name for name in ("started", "stop", "count"))

    def write() -> None:
        started.touch()
        number = 0
        while not stop.exists():
            outbox.put(a_report(f"{number}"), mailable=True)
            outbox.close()
            number += 1
            time.sleep(0.001)  # else the spool is full
        count.write_text(str(number))

    writer = threading.Thread(target=in_child, args=(write,))
    writer.start()
    # A database that is open here must not go through the fork.
    wait_until(started.exists, "the other process")
    found: set[str] = set()
    try:
        for _ in range(40):
            time.sleep(0.02)  # for some reports
            set_aside(outbox.path)
            # Who makes a database may be told that another does so: the courier tries again.
            with suppress(sqlite3.OperationalError), closing(Queue(outbox)) as queue:
                salvage(queue)
                queue.take_incoming()
                found |= set(in_database(outbox))
    finally:
        stop.touch()
        writer.join()
    with closing(Queue(outbox)) as queue:
        salvage(queue)
        queue.take_incoming()
    found |= set(in_database(outbox))
    assert found == {str(number) for number in range(int(count.read_text()))}


def test_how_long_it_is_kept_counts_from_when_it_was_set_aside(
    outbox: Outbox, queue_of: Callable[[], Queue]
) -> None:
    outbox.folder.mkdir()
    outbox.path.write_bytes(b"this is no database" * 1000)
    os.utime(outbox.path, (1, 1))
    set_aside(outbox.path)
    salvage(queue_of())
    purge(outbox, time.time() - 3600)
    assert len(set_aside_in(outbox)) == 1


def test_a_purge_is_not_stopped_by_what_it_cannot_delete(outbox: Outbox) -> None:
    incoming = outbox.incoming.folder
    for name in ("a.unreadable", "c.unreadable"):
        (incoming / name).mkdir(parents=True)
    (incoming / "b.unreadable").touch()
    purge(outbox, time.time() + 3600)
    assert not (incoming / "b.unreadable").exists()


def test_of_those_set_aside_the_last_is_kept(outbox: Outbox, queue_of: Callable[[], Queue]) -> None:
    outbox.folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        (outbox.folder / f"reports.db.corrupt-20200101T000000Z{suffix}").touch()
    outbox.path.write_bytes(b"this is no database" * 1000)
    set_aside(outbox.path)
    salvage(queue_of())
    (kept,) = set_aside_in(outbox)
    assert kept.startswith("reports.db.corrupt-")
    assert "20200101" not in kept


def test_its_log_goes_with_it(outbox: Outbox, queue_of: Callable[[], Queue]) -> None:
    """What is in the log only is saved, and SQLite does not read the log into the new one."""
    outbox.put(a_report("in the log"), mailable=True)
    assert Path(f"{outbox.path}-wal").stat().st_size > 0
    set_aside(outbox.path)
    queue = queue_of()
    assert kinds(queue) == []
    salvage(queue)
    assert in_database(outbox) == ["in the log"]
