"""Reading the log: the files in their order, one request's records, and following it."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flask_mayday.log import reader
from flask_mayday.log.rotation import RotatingFile

WANTED, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.log"


def writer(path: Path, max_bytes: int = 1, backup_count: int = 100) -> Callable[[str], None]:
    made = RotatingFile(path, max_bytes=max_bytes, backup_count=backup_count)
    made.setFormatter(logging.Formatter("%(message)s"))

    def write(text: str) -> None:
        made.handle(logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None))

    return write


def test_there_may_be_no_log_yet(path: Path) -> None:
    assert reader.files(path) == []
    assert list(reader.entries_of(path, WANTED)) == []


def test_a_log_without_a_lock_file_is_read_too(path: Path) -> None:
    path.write_text("first\n")
    assert reader.files(path) == [path]


def test_the_files_come_oldest_first(path: Path) -> None:
    write = writer(path, backup_count=3)
    for number in range(1, 8):
        write(str(number))
    assert [file.read_text() for file in reader.files(path)] == ["4\n", "5\n", "6\n", "7\n"]


def line(second: int, text: str, request: str) -> str:
    return f"2026-01-01 00:00:{second:02},000 INFO: {text} [in x.py:1] [request {request}]"


def test_all_that_one_request_wrote_is_found_in_rotated_files_too(path: Path) -> None:
    write = writer(path)
    write(line(1, "first", WANTED))
    write(line(2, "not mine", OTHER))
    write(line(3, "failed", WANTED) + "\n  Traceback:\n    boom")
    write(line(5, "last", WANTED))
    write(line(4, "from a slower worker", WANTED))
    found = "".join(reader.entries_of(path, WANTED))
    assert found == (
        line(1, "first", WANTED)
        + "\n"
        + line(3, "failed", WANTED)
        + "\n  Traceback:\n    boom\n"
        + line(4, "from a slower worker", WANTED)
        + "\n"
        + line(5, "last", WANTED)
        + "\n"
    )


def test_lines_of_one_millisecond_keep_their_order(path: Path) -> None:
    write = writer(path)
    for level in ("WARNING", "INFO", "ERROR"):
        write(f"2026-01-01 00:00:00,123 {level}: a line [request {WANTED}]")
    found = "".join(reader.entries_of(path, WANTED))
    assert [word for word in found.split() if word.endswith(":")] == ["WARNING:", "INFO:", "ERROR:"]


def test_a_line_that_only_speaks_of_a_request_is_not_its_own(path: Path) -> None:
    writer(path)(line(1, f"asked about [request {WANTED}]", OTHER))
    assert list(reader.entries_of(path, WANTED)) == []


def test_json_is_found_too(path: Path) -> None:
    write = writer(path)
    for request in (WANTED, OTHER, None):
        write(json.dumps({"time": "2026-01-01T00:00:00.000+00:00", "request_id": request}))
    (found,) = reader.entries_of(path, WANTED)
    assert json.loads(found)["request_id"] == WANTED


def test_a_json_message_that_speaks_of_a_request_is_not_its_own(path: Path) -> None:
    entry = {"message": f'"request_id": "{WANTED}"', "request_id": OTHER}
    writer(path)(json.dumps(entry))
    assert list(reader.entries_of(path, WANTED)) == []


@pytest.fixture
def followed(path: Path) -> Callable[[int], list[str]]:
    """Follow the log in a thread; return a function that waits for so many lines of it."""
    pieces: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        for piece in reader.follow(path):
            pieces.put(piece)

    threading.Thread(target=follow, daemon=True).start()
    text = ""

    def read(lines: int) -> list[str]:
        nonlocal text
        while text.count("\n") < lines:
            text += pieces.get(timeout=20)
        return text.splitlines()

    return read


def test_following_shows_what_comes(path: Path, followed: Callable[[int], list[str]]) -> None:
    write = writer(path, max_bytes=10_000)
    write("first")
    assert followed(1) == ["first"]
    write("second")
    assert followed(2) == ["first", "second"]


def test_following_begins_at_the_end_of_a_long_log(path: Path) -> None:
    write = writer(path, max_bytes=10_000)
    for number in range(100):
        write(str(number))
    first = next(reader.follow(path)).splitlines()
    assert first == [str(number) for number in range(100 - reader.BEFORE, 100)]


def test_following_a_log_that_is_not_there_yet_shows_its_first_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer(path, max_bytes=10_000)

    def meanwhile(seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(seconds)  # a follower of an earlier test
            return
        for number in range(100):
            write(str(number))

    monkeypatch.setattr(reader, "time", SimpleNamespace(sleep=meanwhile))
    first = next(reader.follow(path)).splitlines()
    assert first == [str(number) for number in range(100)]


def test_following_loses_no_line_across_rotations(
    path: Path, followed: Callable[[int], list[str]]
) -> None:
    write = writer(path, max_bytes=200, backup_count=10_000)
    write("0")
    assert followed(1) == ["0"]
    for number in range(1, 1000):
        write(f"{number} Zoë 漢字")
    lines = followed(1000)
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1000)]
    assert {line.partition(" ")[2] for line in lines[1:]} == {"Zoë 漢字"}


def test_a_rotation_between_two_looks_does_not_skip_a_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader lists the files, a writer rotates, and only then the reader opens one."""
    write = writer(path, backup_count=100)
    write("old")
    current = reader._Tail(path)
    write("skipped?")
    honest, rotated = reader.files, []

    def then_rotate(of: Path) -> list[Path]:
        found = honest(of)
        if not rotated:
            rotated.append(True)
            write("newest")
        return found

    monkeypatch.setattr(reader, "files", then_rotate)
    found: Any = None
    while found is None:
        found = reader._successor(path, current)
    assert found.lines() == "skipped?\n"
    found.file.close()


def test_half_a_line_waits_for_its_other_half_or_is_taken_back(path: Path) -> None:
    path.write_text("first\nhal")
    tail = reader._Tail(path)
    assert tail.lines() == "first\n"
    path.write_text("first\nanother\n")
    assert tail.lines() == "another\n"


def test_a_log_that_was_cut_from_outside_is_followed_from_its_beginning(path: Path) -> None:
    path.write_text("first\nsecond\n")
    tail = reader._Tail(path)
    assert tail.lines() == "first\nsecond\n"
    path.write_text("third\n")
    assert tail.lines() == "third\n"


def test_lines_that_nobody_can_show_any_more_are_not_passed_over_in_silence(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = writer(path, backup_count=2)
    write("0")
    tail = reader._Tail(path)
    for number in range(1, 9):
        write(str(number))
    newer = reader._successor(path, tail)
    assert newer is not None
    assert newer.lines() == "6\n"
    assert "overwritten" in capsys.readouterr().err


def test_a_log_that_was_moved_or_deleted_is_followed_where_it_begins_anew(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = writer(path, backup_count=5)
    for number in range(4):
        write(str(number))
        os.utime(path, ns=(number, number))
    tail = reader._Tail(path)
    path.rename(path.with_name("moved"))
    write("new")
    newer = reader._successor(path, tail)
    assert newer is not None
    assert newer.lines() == "new\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:00,000 {}: ERROR: text [in x.py:1] [request -]\n",
        '{{"time": "2026-01-01T00:00:00.000+00:00", "level": "{}", "logger": "ERROR"}}\n',
    ],
)
def test_levels_have_a_colour_on_terminals(line: str) -> None:
    for level, colour in reader.COLOURS.items():
        shown = reader.coloured(line.format(level) * 2)
        assert shown == line.format(f"\x1b[{colour}m{level}\x1b[0m") * 2


def test_all_of_it_is_printed_with_the_oldest_file_first(path: Path) -> None:
    write = writer(path, backup_count=3)
    for number in range(1, 8):
        write(str(number))
    assert list(reader.everything(path)) == ["4\n", "5\n", "6\n", "7\n"]
