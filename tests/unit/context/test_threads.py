"""Threads that a request starts have its id; others have none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from flask_mayday.context import request_id, threads
from flask_mayday.context.record_fields import request_id_of


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    threads.install()
    yield
    request_id.forget()


def begin() -> str:
    return request_id.begin({}, trusted=False)


def in_thread(work: Callable[[], object], kind: type[threading.Thread] = threading.Thread) -> None:
    thread = kind(target=work)
    thread.start()
    thread.join(60)


def test_a_thread_has_the_id_of_the_request_that_started_it() -> None:
    seen: list[str | None] = []
    identifier = begin()
    in_thread(lambda: seen.append(request_id.current()))
    assert seen == [identifier]


def test_a_subclass_and_a_thread_that_a_thread_starts_have_the_id_too() -> None:
    seen: list[str | None] = []

    class Own(threading.Thread):
        def run(self) -> None:
            in_thread(lambda: seen.append(request_id.current()))

    identifier = begin()
    in_thread(lambda: None, Own)
    assert seen == [identifier]


def test_a_thread_that_no_request_started_has_no_id() -> None:
    seen: list[str | None] = []
    request_id.forget()
    in_thread(lambda: seen.append(request_id.current()))
    assert seen == [None]


def test_the_threads_of_a_pool_go_from_one_request_to_the_next() -> None:
    with ThreadPoolExecutor(1) as pool:
        first = begin()
        assert pool.submit(request_id.current).result() == first
        second = begin()
        assert pool.submit(request_id.current).result() == second
        request_id.forget()
        assert pool.submit(request_id.current).result() is None


def test_an_exception_that_ends_a_thread_is_logged_with_the_id(
    make_app: Callable[..., object], read_log: Callable[[], str]
) -> None:
    make_app()
    identifier = begin()
    in_thread(lambda: 1 / 0)
    line = next(line for line in read_log().splitlines() if "ends the thread" in line)
    assert line.endswith(f"[request {identifier}]")


def test_the_courier_belongs_to_no_request(make_app: Callable[..., object]) -> None:
    """It starts in the first request of ``flask run`` and lives on."""
    app = make_app()
    ids: list[str | None] = []
    courier = app.extensions["mayday"].courier  # type: ignore[attr-defined]
    courier._run = lambda: ids.append(request_id.current())
    app.test_client().get("/health/live")  # type: ignore[attr-defined]
    courier._thread.join(60)
    assert ids == [None]


# Tasks that fail


def fail() -> None:
    raise ValueError("boom")


def test_the_exception_of_a_task_is_logged_with_the_id_if_it_is_never_retrieved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    identifier = begin()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert request_id_of(record) == identifier
    assert "ValueError: boom" in caplog.text


def test_an_exception_that_is_retrieved_or_whose_task_is_cancelled_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(fail).exception(), ValueError)
        with pytest.raises(ValueError, match="boom"):
            pool.submit(fail).result()
        over = threading.Event()
        pool.submit(over.wait, 60)
        cancelled = pool.submit(fail)
        assert cancelled.cancel()
        over.set()
        with pytest.raises(ValueError, match="boom"):
            list(pool.map(lambda number: number or fail(), range(3)))
        pool.submit(str)
    del cancelled
    assert caplog.records == []


def test_the_exception_of_a_task_that_could_not_be_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begin()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fail)
        wait([future])
        assert not future.cancel()
    del future
    assert "ValueError: boom" in caplog.text
