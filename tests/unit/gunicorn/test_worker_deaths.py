"""A worker's death: one report, under the request id of the visitor it interrupted."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from flask_mayday.context import record_fields as records
from flask_mayday.context import request_id
from flask_mayday.context.in_flight import RequestTable
from flask_mayday.gunicorn import worker_deaths as deaths

Serve = Callable[[RequestTable, str, str], int]
Killed = Callable[..., list[logging.LogRecord]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that begins a request in a thread of its own, whose number it returns.

    "/answered" is being answered, "/reported" is reported; none ends before the test does.
    """
    over = threading.Event()
    pool = ThreadPoolExecutor(8)

    def begin(table: RequestTable, path: str, identifier: str, begun: Future[int]) -> None:
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path.encode().decode("latin-1"),
            request_id.ENVIRON_KEY: identifier,
        }
        table.begin(environ)
        if path == "/answered":
            table.mark_responding()
        if path == "/reported":
            (in_progress,) = (one for one in table.in_progress.values() if one.environ is environ)
            table.mark_reported(in_progress)
        begun.set_result(threading.get_ident())
        over.wait()

    def serve(table: RequestTable, path: str, identifier: str) -> int:
        begun = Future[int]()
        pool.submit(begin, table, path, identifier, begun)
        return begun.result()

    yield serve
    over.set()
    pool.shutdown()


@pytest.fixture
def killed(caplog: pytest.LogCaptureFixture) -> Killed:
    """Return a function that reports the death of a table's worker, and returns what it logged."""

    def kill(table: RequestTable, stack: str = "") -> list[logging.LogRecord]:
        worker = SimpleNamespace(pid=7, in_flight=table, last_stack=io.StringIO(stack))
        with caplog.at_level(logging.WARNING):
            deaths._report(worker, "was killed by SIGKILL")
        return caplog.records

    return kill


@pytest.mark.parametrize(
    ("paths", "whose"),
    [
        ([], None),
        (["/explore"], "0"),
        (["/health/live", "/explore"], "1"),
        (["/health/live"], None),
        (["/answered", "/explore", "/health/live"], "1"),
        (["/answered"], "0"),
        (["/user/\u0142ukasz"], "0"),
        (["/reported", "/explore"], "1"),
        (["/reported"], None),
    ],
)
def test_a_death_is_reported_under_the_id_of_the_only_interrupted_visitor(
    serve: Serve, killed: Killed, paths: list[str], whose: str | None
) -> None:
    table = RequestTable(4)
    for number, path in enumerate(paths):
        serve(table, path, str(number))
    record, *_ = killed(table)
    assert records.request_id_of(record) == whose
    shown = records.traceback_of(record)
    for number, path in enumerate(paths):
        assert (f"GET {path} [request {number}]" in shown) == (path != "/reported")
    states = {"/reported": records.REPORTED, "/answered": records.RESPONDING}
    assert getattr(record, records.REQUESTS) == [
        {
            "request_id": str(number),
            "method": "GET",
            "path": path,
            "state": states.get(path, records.INTERRUPTED),
        }
        for number, path in enumerate(paths)
    ]


def test_a_death_with_several_visitors_is_one_report_and_one_log_line_for_each(
    serve: Serve, killed: Killed
) -> None:
    table = RequestTable(5)
    for number, path in enumerate(["/explore", "/health/live", "/login", "/reported", "/answered"]):
        serve(table, path, str(number))
    death, *lines = killed(table)
    assert death.levelno == logging.CRITICAL
    assert records.request_id_of(death) is None
    assert [(line.levelno, records.request_id_of(line)) for line in lines] == [
        (logging.WARNING, "0"),
        (logging.WARNING, "2"),
        (logging.WARNING, "4"),
    ]
    said = "ut off because worker 7 was killed by SIGKILL: GET "
    assert lines[0].getMessage() == f"C{said}/explore"
    assert lines[2].getMessage() == f"Perhaps c{said}/answered"


def test_a_crash_is_reported_under_the_id_of_the_thread_that_crashed(
    serve: Serve, killed: Killed
) -> None:
    table = RequestTable(4)
    others = [serve(table, "/explore", "0")]
    crashed = serve(table, "/crashes", "1")
    others.append(serve(table, "/login", "2"))
    threads = [f"Thread 0x{one:016x} (most recent call first):" for one in others]
    threads.insert(1, f"Current thread 0x{crashed:016x} (most recent call first):")
    death, *lines = killed(table, "Fatal Python error: Segmentation fault\n" + "\n".join(threads))
    assert records.request_id_of(death) == "1"
    assert [records.request_id_of(line) for line in lines] == ["0", "2"]


def test_a_request_that_follows_a_reported_one_is_not_marked_as_reported() -> None:
    table = RequestTable(1)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", request_id.ENVIRON_KEY: "1"}
    table.begin(environ)
    first = table.in_progress[0]
    table.mark_reported(first)
    table.end()
    table.begin({**environ, request_id.ENVIRON_KEY: "2"})
    table.mark_reported(first)  # too late: another request has its slot
    (left,) = table.interrupted()
    assert (left.request_id, left.reported) == ("2", False)


def test_a_long_method_does_not_overwrite_another_request() -> None:
    table = RequestTable(1)
    table.begin({"REQUEST_METHOD": "M" * 2000, "PATH_INFO": "/", request_id.ENVIRON_KEY: "1"})
    (left,) = table.interrupted()
    assert (left.method, left.path) == ("M" * 20, "/")


@pytest.mark.parametrize(
    ("path", "ending", "reports_its_end", "lost"),
    [
        (None, None, False, 0),
        (None, "was killed by SIGSEGV", False, 1),
        ("/hangs", None, False, 1),
        ("/reported", None, False, 1),  # by the watchdog, which then ends the worker
        (None, None, True, 1),
    ],
)
def test_a_worker_is_lost_unless_it_ended_in_an_orderly_way(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    path: str | None,
    ending: str | None,
    reports_its_end: bool,
    lost: int,
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(deaths.worker_metrics, "count_loss", lambda: counted.append(1))
    table = RequestTable(4)
    if path is not None:
        serve(table, path, "1")
    if reports_its_end:
        table.mark_end_reported()
    worker = SimpleNamespace(pid=7, in_flight=table, last_stack=io.StringIO())
    monkeypatch.setattr(deaths, "_workers", [worker])
    monkeypatch.setattr(deaths, "_endings", {} if ending is None else {7: ending})
    deaths.after_death(worker)
    assert len(counted) == lost
