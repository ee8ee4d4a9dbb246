"""The files of processes that have ended become one file for each kind, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from flask_mayday.metrics import worker_files


@pytest.fixture
def ended() -> list[int]:
    """Return the numbers of processes that have ended."""
    processes = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(3)]
    for process in processes:
        process.wait(60)
    return [process.pid for process in processes]


def write(folder: Path, kind: str, pid: int, value: float, moment: float = 0.0) -> None:
    """Write a sample to the file of a process, as prometheus_client does."""
    file = MmapedDict(str(folder / f"{kind}_{pid}.db"))
    file.write_value(mmap_key("m", "m", [], [], "help"), value, moment)
    file.close()


def value_in(folder: Path) -> float:
    """Return the value that a scrape finds."""
    with worker_files.reading(folder) as paths:
        (metric,) = MultiProcessCollector.merge(paths)
    (sample,) = metric.samples
    return float(sample.value)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.db"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("counter", 8.0), ("gauge_sum", 8.0), ("gauge_max", 5.0), ("gauge_min", 1.0)],
)
def test_a_scrape_finds_the_same_before_and_after(
    tmp_path: Path, ended: list[int], kind: str, expected: float
) -> None:
    for pid, value in zip(ended, (1.0, 2.0, 5.0), strict=True):
        write(tmp_path, kind, pid, value)
    assert value_in(tmp_path) == expected
    worker_files.merge_ended(tmp_path)
    assert names_in(tmp_path) == [f"{kind}_ended.db"]
    assert value_in(tmp_path) == expected
    worker_files.merge_ended(tmp_path)
    assert value_in(tmp_path) == expected


def test_the_latest_value_is_kept(tmp_path: Path, ended: list[int]) -> None:
    for pid, value, moment in zip(ended, (1.0, 2.0, 3.0), (10.0, 30.0, 20.0), strict=True):
        write(tmp_path, "gauge_mostrecent", pid, value, moment)
    worker_files.merge_ended(tmp_path)
    assert value_in(tmp_path) == 2.0


@pytest.mark.parametrize("kind", ["gauge_livesum", "gauge_liveall", "gauge_all"])
def test_a_gauge_of_a_process_that_has_ended_disappears(
    tmp_path: Path, ended: list[int], kind: str
) -> None:
    write(tmp_path, kind, ended[0], 1.0)
    worker_files.merge_ended(tmp_path)
    assert names_in(tmp_path) == []


def test_the_files_of_a_living_process_stay(tmp_path: Path, ended: list[int]) -> None:
    write(tmp_path, "counter", os.getpid(), 1.0)
    write(tmp_path, "counter", ended[0], 2.0)
    worker_files.merge_ended(tmp_path)
    assert names_in(tmp_path) == [f"counter_{os.getpid()}.db", "counter_ended.db"]
    assert value_in(tmp_path) == 3.0


def test_nothing_is_merged_during_a_scrape(tmp_path: Path, ended: list[int]) -> None:
    write(tmp_path, "counter", ended[0], 2.0)
    with worker_files.reading(tmp_path):
        worker_files.merge_ended(tmp_path)
        assert names_in(tmp_path) == [f"counter_{ended[0]}.db"]
    worker_files.merge_ended(tmp_path)
    assert names_in(tmp_path) == ["counter_ended.db"]
    assert value_in(tmp_path) == 2.0


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff" * 64])
def test_a_half_made_file_is_deleted(tmp_path: Path, ended: list[int], content: bytes) -> None:
    write(tmp_path, "counter", ended[0], 2.0)
    (tmp_path / f"counter_{ended[1]}.db").write_bytes(content)
    worker_files.merge_ended(tmp_path)
    assert names_in(tmp_path) == ["counter_ended.db"]
    assert value_in(tmp_path) == 2.0


def test_a_file_that_was_just_made_does_not_fail_a_scrape(tmp_path: Path) -> None:
    write(tmp_path, "counter", os.getpid(), 2.0)
    (tmp_path / "histogram_1.db").touch()
    assert value_in(tmp_path) == 2.0


def test_a_folder_in_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(worker_files.FOLDER_VARIABLE, str(tmp_path / "metrics"))
    assert worker_files.prepare() is None
    assert worker_files.folder() == tmp_path / "metrics"
    assert (tmp_path / "metrics").is_dir()


@pytest.mark.parametrize("folder", ["/proc", "/dev/null/metrics"])
def test_a_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv(worker_files.FOLDER_VARIABLE, folder)
    with pytest.raises(SystemExit, match=f"{folder}': this folder cannot be written"):
        worker_files.prepare()


def test_a_library_that_was_imported_too_early_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(worker_files.FOLDER_VARIABLE, raising=False)
    with pytest.raises(SystemExit, match="PROMETHEUS_MULTIPROC_DIR"):
        worker_files.prepare()
