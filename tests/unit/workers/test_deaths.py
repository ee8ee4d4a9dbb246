"""A worker's death: one report, under the request id of whom it served."""

from __future__ import annotations

import io
import logging
import threading
from types import SimpleNamespace

import pytest

from app import records, request_id
from app.workers import deaths
from app.workers.in_flight import Table


def serve(table: Table, path: str, identifier: str) -> None:
    """Begin a request in a thread of its own, and never end it; one of "answered" is answered."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, request_id.ENVIRON_KEY: identifier}

    def begin() -> None:
        table.begin(environ)
        if path == "/answered":
            table.answer()

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("paths", "whose"),
    [
        ([], None),
        (["/explore"], "0"),
        (["/health/live", "/explore"], "1"),
        (["/health/live"], None),
        (["/explore", "/login"], None),
        (["/answered", "/explore", "/health/live"], "1"),
        (["/answered"], "0"),
    ],
)
def test_a_death_is_told_under_the_id_of_the_one_visitor_who_was_served(
    caplog: pytest.LogCaptureFixture, paths: list[str], whose: str | None
) -> None:
    table = Table(4)
    for number, path in enumerate(paths):
        serve(table, path, str(number))
    worker = SimpleNamespace(pid=7, in_flight=table, last_stack=io.StringIO())
    with caplog.at_level(logging.CRITICAL):
        deaths._report(worker, "was killed by SIGKILL")
    (record,) = caplog.records
    assert records.request_id_of(record) == whose
    told = records.traceback_of(record)
    assert all(f"GET {path} [request {number}]" in told for number, path in enumerate(paths))
