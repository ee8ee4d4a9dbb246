"""The check that workers, threads and containers fit into their limits, taken together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_mayday.capacity import Capacity


@pytest.fixture
def check(load: Callable[[str], Any]) -> Any:
    return load("docker/verbs/capacity.py")


def services(
    workers: int = 2, threads: int = 4, replicas: int = 1, **changes: object
) -> dict[str, Any]:
    web = {
        "environment": {
            "MAYDAY_WEB_CONCURRENCY": f" {workers}",
            "MAYDAY_WEB_THREADS": str(threads),
        },
        "deploy": {"replicas": replicas},
        "pids_limit": 256,
        "mem_limit": str(512 << 20),
    }
    return {"web": {**web, **changes}, "db": {"command": ["postgres", "-cmax_connections=200"]}}


def test_the_defaults_fit_ten_times_over(check: Any) -> None:
    assert check.problems(services()) == []
    assert check.problems(services(replicas=9)) == []


def test_eight_workers_of_sixteen_threads_are_too_many_connections(check: Any) -> None:
    (problem,) = check.problems(services(workers=8, threads=16))
    assert "WEB_REPLICAS=1 x WEB_CONCURRENCY=8 x WEB_THREADS=16 needs 280" in problem
    assert "(2 x 1 x 8 x (16 + 1 spare) + 8 others)" in problem
    assert "allows 200 (DB_MAX_CONNECTIONS)" in problem
    assert "Set WEB_THREADS=11, or set DB_MAX_CONNECTIONS=280." in problem
    assert check.problems(services(workers=8, threads=11)) == []


def test_two_workers_of_128_threads_are_too_many_threads(check: Any) -> None:
    problem, _ = check.problems(services(workers=2, threads=128))
    assert "WEB_CONCURRENCY=2 x WEB_THREADS=128 needs 282 threads" in problem
    assert "(2 x (128 + 5 of its own) + 16 others)" in problem
    assert "may have 256. Set WEB_THREADS=115, or raise the limit" in problem


def test_many_workers_are_too_much_memory(check: Any) -> None:
    (problem,) = check.problems(services(workers=16, threads=1))
    assert "WEB_CONCURRENCY=16 needs at least 576 MiB (16 x 32 + 64)" in problem
    assert "Set WEB_CONCURRENCY=14, or raise the limit" in problem


def test_the_fix_lowers_the_workers_if_one_thread_each_is_too_many() -> None:
    problem = Capacity(workers=100, threads=1).thread_problem(256)
    assert problem is not None
    assert "Set WEB_CONCURRENCY=40" in problem


def test_limits_in_an_override_file_apply(check: Any) -> None:
    roomy = services(workers=2, threads=128, pids_limit=1000)
    roomy["db"]["command"][1] = "-cmax_connections=1000"
    assert check.problems(roomy) == []
    del roomy["db"]
    assert check.problems(roomy) == []


@pytest.mark.parametrize("problem", ["thread_problem", "memory_problem", "connection_problem"])
def test_if_even_one_worker_does_not_fit_only_a_higher_limit_helps(problem: str) -> None:
    text = getattr(Capacity(workers=1, threads=1), problem)(10)
    assert "Set WEB_" not in text
    assert "Lower" not in text
    assert "Raise the limit (in the stack" in text or "Set DB_MAX_CONNECTIONS=12." in text


def test_a_fix_of_several_settings_still_says_to_raise_the_connections() -> None:
    problem = Capacity(workers=4, threads=64).connection_problem(13)
    assert problem is not None
    assert "Lower WEB_CONCURRENCY and WEB_THREADS, or set DB_MAX_CONNECTIONS=528." in problem


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "WEB_THREADS"])
def test_a_value_that_is_no_number_is_named_with_its_setting(check: Any, name: str) -> None:
    model = services()
    model["web"]["environment"][f"MAYDAY_{name}"] = "two"
    with pytest.raises(SystemExit, match=f"error: {name} is 'two': use a whole number"):
        check.problems(model)
    model = {**services(), "db": {"command": ["-cmax_connections=all"]}}
    with pytest.raises(SystemExit, match="error: DB_MAX_CONNECTIONS is 'all'"):
        check.problems(model)
