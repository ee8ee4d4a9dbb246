"""incoming/: every report is imported once, whichever process is killed in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from flask_mayday.spool import incoming as incoming_module
from flask_mayday.spool.incoming import LINES, TAKEN, UNREADABLE, ReportFile
from flask_mayday.spool.mailbox import BATCH_REPORTS, Mailbox
from flask_mayday.spool.outbox import NotDurableError, Outbox
from tests.support.reports import a_report, in_database


@pytest.fixture
def mailbox(outbox: Outbox) -> Iterator[Mailbox]:
    made = Mailbox(outbox)
    yield made
    made.close()


def files(outbox: Outbox, suffix: str) -> list[Path]:
    folder = outbox.incoming.folder
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


def test_a_report_is_a_line_in_the_file_of_its_process_until_it_is_imported(
    outbox: Outbox, mailbox: Mailbox
) -> None:
    for number in range(5):
        outbox.put(a_report(f"report {number}"), mailable=number > 0)
    (file,) = files(outbox, LINES)
    assert str(os.getpid()) in file.name
    assert in_database(outbox) == []
    mailbox.take_incoming()
    assert in_database(outbox) == [f"report {number}" for number in range(5)]
    assert list(outbox.incoming.folder.iterdir()) == []
    mailable = mailbox.connection.execute("SELECT sum(mailable) FROM reports").fetchone()
    assert mailable == (4,)


def test_a_process_starts_a_new_file_after_the_courier_has_taken_its_file(
    outbox: Outbox, mailbox: Mailbox
) -> None:
    for number in range(3):
        outbox.put(a_report(f"report {number}"), mailable=True)
        mailbox.take_incoming()
    outbox.put(a_report("report 3"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == [f"report {number}" for number in range(4)]


def test_a_line_written_after_the_courier_has_read_the_file_is_not_lost(
    outbox: Outbox, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier takes the file after a process opened it and before it writes."""
    outbox.put(a_report("before"), mailable=True)
    write = ReportFile._write

    def late(self: ReportFile, line: bytes) -> None:
        monkeypatch.undo()
        mailbox.take_incoming()
        write(self, line)

    monkeypatch.setattr(ReportFile, "_write", late)
    outbox.put(a_report("after"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == ["before", "after"]


def test_a_line_read_before_its_writers_check_is_kept_once(
    outbox: Outbox, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier takes the file after a process's write and before its check."""
    look = incoming_module.identity

    def late(path: str) -> tuple[int, int]:
        monkeypatch.undo()
        mailbox.take_incoming()
        return look(path)

    monkeypatch.setattr(incoming_module, "identity", late)
    outbox.put(a_report("once"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == ["once"]


def test_lines_of_threads_and_processes_beside_a_courier_are_all_kept_once(
    outbox: Outbox, mailbox: Mailbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def put(name: str) -> None:
        for number in range(300):
            outbox.put(a_report(f"{name} {number}"), mailable=True)

    def child() -> None:
        put("child")

    done = threading.Event()
    statuses = []
    threads = [threading.Thread(target=put, args=(f"thread {n}",)) for n in range(3)]
    threads.append(threading.Thread(target=lambda: statuses.append(in_child(child))))

    def take() -> None:
        own = Mailbox(outbox)
        while not done.is_set():
            own.take_incoming()
        own.close()

    courier = threading.Thread(target=take)
    courier.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    courier.join()
    mailbox.take_incoming()
    assert statuses == [0]
    names = ("thread 0", "thread 1", "thread 2", "child")
    assert sorted(in_database(outbox)) == sorted(
        f"{name} {n}" for name in names for n in range(300)
    )


def test_a_file_half_imported_by_a_killed_courier_is_imported_once(
    outbox: Outbox, mailbox: Mailbox
) -> None:
    for number in range(BATCH_REPORTS + 5):
        outbox.put(a_report(str(number)), mailable=True)

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mailbox.take_incoming(killed)
    assert len(in_database(outbox)) == BATCH_REPORTS
    assert len(files(outbox, TAKEN)) == 1
    mailbox.take_incoming()
    assert in_database(outbox) == [str(number) for number in range(BATCH_REPORTS + 5)]
    assert list(outbox.incoming.folder.iterdir()) == []


def test_a_file_imported_into_a_deleted_database_is_not_lost(
    outbox: Outbox, mailbox: Mailbox
) -> None:
    outbox.put(a_report("boom"), mailable=True)
    mailbox.take_incoming(lambda: outbox.path.unlink())
    assert len(files(outbox, TAKEN)) == 1
    another = Mailbox(outbox)
    another.take_incoming()
    another.close()
    assert in_database(outbox) == ["boom"]


def a_line(**known: object) -> bytes:
    return json.dumps({"mailable": True, "body": json.dumps(known)}).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        b'{"mailable": true, "bo\n',
        b"\n",
        b"\xff\n",
        a_line(uuid="\ud800", time=1.0, fingerprint="1"),
        a_line(uuid="1", time=1.0, fingerprint="1", request_id="\udfff"),
    ],
)
def test_an_unreadable_line_is_kept_and_does_not_affect_the_others(
    outbox: Outbox, mailbox: Mailbox, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    outbox.put(a_report("before"), mailable=True)
    (file,) = files(outbox, LINES)
    with file.open("ab") as broken:
        broken.write(line)
    outbox.put(a_report("after"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == ["before", "after"]
    (aside,) = files(outbox, UNREADABLE)
    assert str(aside) in caplog.text


@pytest.mark.parametrize("written", [0, 1, 20])
@pytest.mark.parametrize("lines", [0, 2])
def test_a_process_killed_during_an_append_leaves_no_partial_report(
    outbox: Outbox,
    mailbox: Mailbox,
    caplog: pytest.LogCaptureFixture,
    in_child: Callable[[Callable[[], object]], int],
    written: int,
    lines: int,
) -> None:
    """The request had no response yet, and the worker's death is reported instead."""

    def killed(self: ReportFile, line: bytes) -> None:
        os.write(self._descriptor, line[:written])
        os.kill(os.getpid(), signal.SIGKILL)

    def append() -> None:
        for number in range(lines):
            outbox.put(a_report(str(number)), mailable=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReportFile, "_write", killed)
            outbox.put(a_report("never answered"), mailable=True)

    assert in_child(append) == -signal.SIGKILL
    assert len(files(outbox, LINES)) == 1
    mailbox.take_incoming()
    assert in_database(outbox) == [str(number) for number in range(lines)]
    assert list(outbox.incoming.folder.iterdir()) == []
    assert caplog.text == ""


def test_a_file_is_imported_later_when_file_descriptors_run_out(
    outbox: Outbox, mailbox: Mailbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    outbox.put(a_report("boom"), mailable=True)
    listdir = os.listdir

    def and_take_the_rest(folder: Path) -> list[str]:
        names = listdir(folder)
        with contextlib.suppress(OSError):
            while True:
                os.open(os.devnull, os.O_RDONLY)
        return names

    def take() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(incoming_module.os, "listdir", and_take_the_rest)
            with pytest.raises(OSError, match="Too many open files"):
                list(outbox.incoming.take())

    assert in_child(take) == 0
    mailbox.take_incoming()
    assert in_database(outbox) == ["boom"]


def test_a_file_that_this_user_cannot_read_is_kept_and_named(
    outbox: Outbox, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a spool restored by root with `cp -r`. Simulated, because root can read every file."""
    outbox.put(a_report("restored"), mailable=True)
    (file,) = outbox.incoming.waiting()
    taken = file.rename(file.with_suffix(TAKEN))
    outbox.put(a_report("mine"), mailable=True)
    read, access = Path.read_bytes, os.access

    def refuse(path: Path) -> bytes:
        if path == taken:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        patch.setattr(
            incoming_module.os, "access", lambda path, mode: path != taken and access(path, mode)
        )
        mailbox.take_incoming()
        assert in_database(outbox) == ["mine"]
        assert outbox.incoming.unreadable() == [taken]
        assert outbox.trouble().startswith("has 1 unreadable file: ")
    mailbox.take_incoming()
    assert in_database(outbox) == ["mine", "restored"]


def test_a_file_that_is_deleted_while_it_is_looked_at_is_not_called_unreadable(
    outbox: Outbox,
) -> None:
    outbox.incoming.folder.mkdir(parents=True)
    (outbox.incoming.folder / "gone.lines").symlink_to("nowhere")  # listed, and not there
    assert outbox.incoming.waiting() != []
    assert outbox.incoming.unreadable() == []
    assert outbox.trouble() == ""


def test_a_file_that_the_courier_takes_while_a_command_reads_is_read_under_its_new_name(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put(a_report("being taken"), mailable=True)
    incoming = outbox.incoming
    listed = incoming.waiting()
    listed[0].rename(listed[0].with_suffix(TAKEN))
    monkeypatch.setattr(incoming, "waiting", lambda: listed)
    assert ["being taken" in report.body for report in incoming.read()] == [True]


def test_a_full_disk_leaves_no_partial_line(
    outbox: Outbox, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put(a_report("before"), mailable=True)
    write = os.write

    def half(file: int, data: bytes) -> int:
        return write(file, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(incoming_module.os, "write", half)
        with pytest.raises(NotDurableError, match="No space left on device"):
            outbox.put(a_report("held in memory"), mailable=True)
    outbox.put(a_report("after"), mailable=True)
    mailbox.take_incoming()
    assert sorted(in_database(outbox)) == ["after", "before", "held in memory"]
    assert files(outbox, UNREADABLE) == []


# Files of earlier versions, which share the spool during a rolling update


def a_single(outbox: Outbox, content: bytes) -> Path:
    """Write a file with one report, as earlier versions do while the database is locked."""
    outbox.incoming.folder.mkdir(parents=True, exist_ok=True)
    path = outbox.incoming.folder / uuid.uuid4().hex
    path.write_bytes(content)
    return path


def a_line(message: str, *, mailable: bool = True) -> bytes:
    body = a_report(message).to_json()
    return json.dumps({"mailable": mailable, "body": body}).encode() + b"\n"


def test_a_file_of_one_report_is_imported(outbox: Outbox, mailbox: Mailbox) -> None:
    a_single(outbox, a_line("to be mailed"))
    a_single(outbox, a_line("not to be mailed", mailable=False))
    mailbox.take_incoming()
    assert sorted(in_database(outbox)) == ["not to be mailed", "to be mailed"]
    assert list(outbox.incoming.folder.iterdir()) == []
    assert mailbox.pending_span("f")[1] == 1


def test_a_file_that_was_imported_but_not_deleted_is_not_imported_again(
    outbox: Outbox, mailbox: Mailbox
) -> None:
    """As if the courier had been killed just before it deleted it."""
    content = a_line("boom")
    for _ in range(2):
        a_single(outbox, content)
        mailbox.take_incoming()
    assert in_database(outbox) == ["boom"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"body": "{}"}',
        b'{"body": "[]"}',
        b'{"mailable": true, "body": 7}',
        b'{"mailable": true, "body": "null"}',
        b"[" * 100_000,
    ],
)
def test_a_file_without_a_report_is_kept_and_delays_nothing(
    outbox: Outbox, mailbox: Mailbox, content: bytes
) -> None:
    a_single(outbox, content)
    outbox.put(a_report("second"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == ["second"]
    assert len(files(outbox, UNREADABLE)) == 1


def test_a_partially_written_file_is_left_alone(outbox: Outbox, mailbox: Mailbox) -> None:
    part = a_single(outbox, b"").rename(outbox.incoming.folder / "0.part")
    part.write_text('{"mailable":')
    mailbox.take_incoming()
    assert list(outbox.incoming.folder.iterdir()) == [part]


def test_a_folder_among_the_files_delays_nothing(outbox: Outbox, mailbox: Mailbox) -> None:
    (outbox.incoming.folder / "folder").mkdir(parents=True)
    outbox.put(a_report("boom"), mailable=True)
    mailbox.take_incoming()
    assert in_database(outbox) == ["boom"]


def test_earlier_versions_can_read_the_lines(outbox: Outbox) -> None:
    """Their courier also renames the file, and reads these two fields."""
    outbox.put(a_report("boom"), mailable=True)
    (file,) = files(outbox, LINES)
    wrapped = json.loads(file.read_bytes())
    assert wrapped["mailable"] is True
    assert json.loads(wrapped["body"])["message"] == "boom"


def test_a_folder_that_was_emptied_is_not_called_full(outbox: Outbox, mailbox: Mailbox) -> None:
    file = ReportFile(outbox.incoming.folder, 1000)
    other = outbox.incoming.folder / "other"
    outbox.incoming.folder.mkdir(parents=True)
    other.write_bytes(b"x" * 945)
    file.append(b"x" * 50)
    other.unlink()
    file.append(b"x" * 10)
    file.close()


def test_files_are_taken_in_the_order_in_which_they_were_made(
    outbox: Outbox, mailbox: Mailbox, in_child: Callable[[Callable[[], object]], int]
) -> None:
    for number in range(8):
        work = partial(outbox.put, a_report(str(number)), mailable=True)
        assert in_child(work) == 0
    mailbox.take_incoming()
    assert in_database(outbox) == [str(number) for number in range(8)]


def test_a_file_taken_during_the_measurement_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x" * 400)
    scan = os.scandir

    @contextlib.contextmanager
    def slowly(folder: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scan(folder) as entries:
            found = list(entries)
        (tmp_path / found[1].name).unlink()
        yield found

    monkeypatch.setattr(incoming_module.os, "scandir", slowly)
    assert incoming_module._size(tmp_path) == 800
    assert incoming_module._size(tmp_path / "missing") == 0
