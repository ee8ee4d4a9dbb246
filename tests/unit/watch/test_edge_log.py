"""nginx's files: every line is read once, and deleted only after that, or if the folder is full."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from flask_mayday.watch import edge_log
from flask_mayday.watch.edge_log import EdgeLog

HOUR = "edge-2026-11-27T18.jsonl"


def line(number: int) -> str:
    known = {"time": 1.5, "status": 502, "method": "GET", "path": "/"}
    return json.dumps({**known, "request_id": f"{number:032x}"}) + "\n"


def write(path: Path, *numbers: int, tail: str = "") -> None:
    with path.open("a") as file:
        file.write("".join(map(line, numbers)) + tail)


def numbers(log: EdgeLog, now: float | None = None) -> list[int]:
    return [int(one["request_id"], 16) for one in log.read(time.time() if now is None else now)]


@pytest.fixture
def log(tmp_path: Path) -> EdgeLog:
    return EdgeLog(tmp_path, {})


def test_each_line_is_read_once_across_files_and_restarts(log: EdgeLog, tmp_path: Path) -> None:
    write(tmp_path / HOUR, 1, 2)
    assert numbers(log) == [1, 2]
    write(tmp_path / HOUR, 3)
    write(tmp_path / "edge-2026-11-27T19.jsonl", 4)
    assert numbers(EdgeLog(tmp_path, log.offsets)) == [3, 4]
    assert numbers(log) == []


def test_a_line_that_nginx_has_not_finished_waits(log: EdgeLog, tmp_path: Path) -> None:
    write(tmp_path / HOUR, 1, tail=line(2)[:20])
    assert numbers(log) == [1]
    write(tmp_path / HOUR, tail=line(2)[20:])
    assert numbers(log) == [2]


def test_a_line_that_is_no_request_is_skipped(log: EdgeLog, tmp_path: Path) -> None:
    tail = 'nonsense\n{"time": "x"}\n{"time": 1, "status": 1e999}\n[]\n\xff\n' + "[" * 9999 + "\n"
    write(tmp_path / HOUR, 1, tail=tail + line(2))
    assert numbers(log) == [1, 2]


def test_a_path_of_any_bytes_is_counted(log: EdgeLog, tmp_path: Path) -> None:
    (tmp_path / HOUR).write_bytes(line(1).encode().replace(b'"/"', b'"/\xff"'))
    assert [one["path"] for one in log.read(time.time())] == ["/\ufffd"]


def test_a_file_is_deleted_when_it_is_read_and_nginx_has_left_it(
    log: EdgeLog, tmp_path: Path
) -> None:
    write(tmp_path / HOUR, 1)
    assert numbers(log) == [1]
    assert (tmp_path / HOUR).exists()
    assert numbers(log, time.time() + 200) == []
    assert (list(tmp_path.iterdir()), log.offsets) == ([], {})
    write(tmp_path / HOUR, 2)
    assert numbers(log) == [2]


def test_a_long_file_is_renamed_and_its_last_lines_are_read(
    log: EdgeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_log, "FILE_BYTES", 100)
    write(tmp_path / HOUR, 1, 2)
    assert numbers(log) == [1, 2]
    (renamed,) = tmp_path.iterdir()
    write(renamed, 3)  # nginx had opened it before
    write(tmp_path / HOUR, 4)
    assert numbers(log) == [4, 3]
    assert numbers(log, time.time() + 200) == []
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_bounded_while_nobody_reads(
    log: EdgeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "edge-2026-11-26T01.jsonl", 1)
    os.utime(tmp_path / "edge-2026-11-26T01.jsonl", (1, 1))
    monkeypatch.setattr(edge_log, "FOLDER_BYTES", 300)
    write(tmp_path / "edge-2026-11-27T01.jsonl", 2, 3)
    write(tmp_path / "edge-2026-11-27T02.jsonl", 4)
    assert numbers(log) == [4]
    assert [path.name for path in tmp_path.iterdir()] == ["edge-2026-11-27T02.jsonl"]


@pytest.mark.parametrize("is_read", [True, False])
def test_a_warning_says_so_if_a_file_is_deleted_unread(
    log: EdgeLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_read: bool,
) -> None:
    write(tmp_path / HOUR, 1)
    assert not is_read or numbers(log) == [1]
    monkeypatch.setattr(edge_log, "FOLDER_BYTES", 10)
    assert numbers(log) == []
    assert list(tmp_path.iterdir()) == []
    assert ("deleted unread" in caplog.text) != is_read


def test_other_files_and_a_missing_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("1\n")
    assert numbers(EdgeLog(tmp_path, {})) == []
    assert (tmp_path / "starts").exists()
    assert numbers(EdgeLog(tmp_path / "none", {})) == []
