"""The reader prints the files in order, finds one request's records, and follows the log."""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

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


def test_a_log_that_does_not_exist_is_empty(path: Path) -> None:
    for missing in (path, path.parent / "folder" / "test.log"):
        assert reader.open_files(missing) == []
        assert list(reader.entries_of(missing, WANTED)) == []


def test_a_log_without_a_lock_file_is_read_too(path: Path) -> None:
    path.write_text("first\n")
    assert list(reader.everything(path)) == ["first\n"]


def test_the_files_are_read_oldest_first(path: Path) -> None:
    write = writer(path, backup_count=3)
    for number in range(1, 8):
        write(str(number))
    assert list(reader.everything(path)) == ["4\n", "5\n", "6\n", "7\n"]


@pytest.mark.parametrize("moment", range(7))
@pytest.mark.parametrize("rotations", [1, 2, 3, 4])
def test_rotations_while_the_files_are_opened_keep_every_file_and_the_order(
    path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, rotations: int
) -> None:
    write = writer(path, backup_count=5)
    for number in range(1, 7):
        write(str(number))
    opened: list[Path] = []

    class Opening(reader.LogFile):
        def __init__(self, file: Path) -> None:
            if len(opened) == moment:
                for number in range(7, 7 + rotations):
                    write(str(number))
            opened.append(file)
            super().__init__(file)

    monkeypatch.setattr(reader, "LogFile", Opening)
    found = [int(text) for file in reader.open_files(path) for text in file.read_all()]
    assert found == sorted(set(found))
    assert set(range(rotations + 1, 7)) <= set(found)


@pytest.mark.parametrize("free", [0, 1, 3])
def test_a_gap_in_the_numbers_hides_no_older_file(path: Path, free: int) -> None:
    write = writer(path)
    for number in range(1, 6):
        write(str(number))
    missing = path.with_name(f"{path.name}.{free}") if free else path
    gone = missing.read_text()
    missing.unlink()
    assert list(reader.everything(path)) == [
        text for text in ("1\n", "2\n", "3\n", "4\n", "5\n") if text != gone
    ]


def line(second: int, text: str, request: str) -> str:
    return f"2026-01-01 00:00:{second:02},000 INFO: {text} [in x.py:1] [request {request}]"


def test_the_records_of_a_request_are_found_in_every_file_and_sorted_by_time(path: Path) -> None:
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


def test_records_of_one_millisecond_keep_their_order(path: Path) -> None:
    write = writer(path)
    for level in ("WARNING", "INFO", "ERROR"):
        write(f"2026-01-01 00:00:00,123 {level}: a line [request {WANTED}]")
    found = "".join(reader.entries_of(path, WANTED))
    assert [word for word in found.split() if word.endswith(":")] == ["WARNING:", "INFO:", "ERROR:"]


def test_a_line_that_mentions_a_request_does_not_belong_to_it(path: Path) -> None:
    writer(path)(line(1, f"asked about [request {WANTED}]", OTHER))
    assert list(reader.entries_of(path, WANTED)) == []


def test_json_records_are_found_too(path: Path) -> None:
    write = writer(path)
    for request in (WANTED, OTHER, None):
        write(json.dumps({"time": "2026-01-01T00:00:00.000+00:00", "request_id": request}))
    (found,) = reader.entries_of(path, WANTED)
    assert json.loads(found)["request_id"] == WANTED


def test_a_json_record_that_mentions_a_request_does_not_belong_to_it(path: Path) -> None:
    mention = {"request_id": WANTED}
    write = writer(path)
    write(json.dumps({"message": json.dumps(mention), "request_id": OTHER}))
    write(json.dumps({"order": mention, "request_id": OTHER}))
    write(json.dumps({"order": mention})[:-1])
    assert list(reader.entries_of(path, WANTED)) == []


def test_text_and_json_records_of_one_request_are_sorted_by_time(path: Path) -> None:
    write = writer(path)
    for second in (3, 1):
        write(line(second, f"text {second}", WANTED))
    for second in (2, 4):
        time = f"2026-01-01T00:00:{second:02}.000+00:00"
        write(json.dumps({"time": time, "message": f"json {second}", "request_id": WANTED}))
    found = [re.findall(r"(?:text|json) \d", entry) for entry in reader.entries_of(path, WANTED)]
    assert found == [["text 1"], ["json 2"], ["text 3"], ["json 4"]]


@pytest.fixture
def followed(path: Path) -> Callable[[int], list[str]]:
    """Follow the log in a thread; return a function that waits for a number of lines."""
    pieces: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        for piece in reader.follow(path):
            pieces.put(piece)

    threading.Thread(target=follow, daemon=True).start()
    text = ""

    def read(lines: int) -> list[str]:
        nonlocal text
        while text.count("\n") < lines:
            text += pieces.get(timeout=60)
        return text.splitlines()

    return read


def test_following_shows_new_lines(path: Path, followed: Callable[[int], list[str]]) -> None:
    write = writer(path, max_bytes=10_000)
    write("first")
    assert followed(1) == ["first"]
    write("second")
    assert followed(2) == ["first", "second"]


def test_following_begins_with_the_last_lines(path: Path) -> None:
    write = writer(path, max_bytes=10_000)
    for number in range(100):
        write(str(number))
    first = next(reader.follow(path)).splitlines()
    assert first == [str(number) for number in range(100 - reader.LINES_BEFORE, 100)]


def test_only_the_end_of_a_large_file_is_read_for_the_last_lines(path: Path) -> None:
    lines = [f"{number:09} Zoë 漢字" for number in range(10_000)]
    path.write_text("\n".join(lines) + "\n")
    file = reader.LogFile(path)
    assert file.skip_to_last_lines().splitlines() == lines[-reader.LINES_BEFORE :]
    assert file.read() == ""


def test_following_a_log_that_does_not_exist_yet_shows_its_first_line(
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


def test_a_partial_line_is_read_when_it_is_complete(path: Path) -> None:
    path.write_text("first\nhal")
    file = reader.LogFile(path)
    assert file.read() == "first\n"
    path.write_text("first\nanother\n")
    assert file.read() == "another\n"


def test_a_file_that_was_truncated_is_read_from_its_beginning(path: Path) -> None:
    path.write_text("first\nsecond\n")
    file = reader.LogFile(path)
    assert file.read() == "first\nsecond\n"
    path.write_text("third\n")
    assert file.read() == "third\n"


def test_a_line_longer_than_a_chunk_does_not_stop_the_reader(path: Path) -> None:
    text = "x" * (reader.CHUNK + 10) + "\nafter\n"
    path.write_text(text)
    assert "".join(reader.LogFile(path).read_all()) == text


def test_lines_that_were_deleted_unread_are_reported_on_stderr(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = writer(path, backup_count=2)
    write("0")
    current = reader.LogFile(path)
    for number in range(1, 9):
        write(str(number))
    newer = reader._newer(path, current)
    assert [file.read() for file in newer] == ["6\n", "7\n", "8\n"]
    assert "deleted" in capsys.readouterr().err


def test_after_another_program_moved_the_log_the_new_file_is_followed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = writer(path, backup_count=5)
    for number in range(4):
        write(str(number))
        os.utime(path, ns=(number, number))
    current = reader.LogFile(path)
    path.rename(path.with_name("moved"))
    assert reader._newer(path, current) == []
    write("new")
    assert [file.read() for file in reader._newer(path, current)] == ["new\n"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:00,000 {}: ERROR: text [in x.py:1] [request -]\n",
        '{{"time": "2026-01-01T00:00:00.000+00:00", "level": "{}", "logger": "ERROR"}}\n',
    ],
)
def test_levels_are_coloured_on_terminals(line: str) -> None:
    for level, colour in reader.COLOURS.items():
        shown = reader.coloured(line.format(level) * 2)
        assert shown == line.format(f"\x1b[{colour}m{level}\x1b[0m") * 2


def test_text_from_outside_cannot_control_the_terminal() -> None:
    text = "one\x1b[2J\r\x9b31m\n  two\u202e\tend\n"
    assert reader.printable(text) == "one\\x1b[2J\\r\\x9b31m\n  two\\u202e\tend\n"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LOG_DIR": "/a", "LOG_FILE": "b.log"}, "/a/b.log"),
        ({"LOG_DIR": "/a", "MAYDAY_LOG_DIR": "/c", "MAYDAY_LOG_FILE": "d.log"}, "/c/d.log"),
    ],
)
def test_the_environment_names_the_log(environ: dict[str, str], expected: str) -> None:
    assert reader.log_path(environ) == Path(expected)


def test_the_only_log_of_the_folder_needs_no_name(tmp_path: Path) -> None:
    for name in ("shop.log", "shop.log.1", ".shop.log.lock"):
        (tmp_path / name).touch()
    assert reader.log_path({"LOG_DIR": str(tmp_path)}) == tmp_path / "shop.log"


def test_a_log_that_is_not_named_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"LOG_DIR is not set\. Set it to"):
        reader.log_path({"LOG_FILE": "a.log"})
    for name in ("a.log", "b.log"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"LOG_FILE is not set\. .* has these: a\.log, b\.log"):
        reader.log_path({"LOG_DIR": str(tmp_path)})


def test_a_folder_that_cannot_be_read_is_not_called_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"LOG_DIR, .*/gone, cannot be read: No such file"):
        reader.log_path({"LOG_DIR": str(tmp_path / "gone")})


def test_a_log_of_another_user_is_explained_without_a_traceback(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    path.write_text("first\n")
    path.chmod(0)
    monkeypatch.setenv("LOG_DIR", str(path.parent))
    monkeypatch.setenv("LOG_FILE", path.name)

    def read() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)  # root may read everything
        for arguments in ([], ["--all"], ["--request", WANTED]):
            monkeypatch.setattr("sys.argv", ["reader", *arguments])
            monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
            monkeypatch.setattr("sys.stderr", os.fdopen(os.dup(2), "w"))
            assert reader.main() == 2
            sys.stderr.flush()

    assert in_child(read) == 0
    explanations = capfd.readouterr().err.splitlines()
    assert len(explanations) == 3
    for explanation in explanations:
        assert f"Cannot read the log {path}: Permission denied." in explanation
        assert explanation.endswith("or as root.")
