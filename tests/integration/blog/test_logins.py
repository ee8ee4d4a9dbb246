"""Logins on PostgreSQL: many guesses at once, the time of an answer, and the upgrade to 0002."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from werkzeug.security import generate_password_hash

from tests.support.visitor import PASSWORD, Visitor

LOGINS = int(os.environ.get("LOGINS", "80"))  # of each kind
# What 2,000 logins of each kind may show, and three standard deviations for LOGINS of them.
BOUND = 0.52 + 1.5 / LOGINS**0.5


def test_guesses_at_the_same_moment_are_all_counted(site: str) -> None:
    visitor = Visitor(site)
    visitor.register("susan")
    token = visitor.token("/login")

    def guess(_: int) -> int:
        attacker = Visitor(site)
        attacker.cookies = visitor.cookies
        attacker.opener = visitor.opener
        fields = {"username": "susan", "password": "wrong", "csrf_token": token}
        return attacker.open("/login", **fields).status

    with ThreadPoolExecutor(16) as threads:
        statuses = Counter(threads.map(guess, range(48)))
    # The delay after the fifth is a second, then two: a slow machine may allow some more.
    assert 5 <= statuses[200] + statuses[503] <= 12
    assert set(statuses) <= {200, 429, 503}


@pytest.mark.parametrize("old", [False, True], ids=["new hash", "old hash"])
def test_the_time_of_an_answer_does_not_tell_whether_a_name_is_known(
    gunicorn: Callable[..., Any],
    postgres_server: Any,
    database_url: str,
    record_property: Callable[[str, object], None],
    old: bool,
) -> None:
    server = gunicorn(DATABASE_URL=database_url, LOGIN_LIMITS=0, WEB_CONCURRENCY=1, WEB_THREADS=1)
    visitor = Visitor(f"http://127.0.0.1:{server.port}")
    visitor.register("susan")
    if old:
        _set_hash(postgres_server, database_url, generate_password_hash(PASSWORD))
    token = visitor.token("/login")
    logins = [(name, known) for name, known in (("susan", True), ("nancy", False))] * LOGINS
    random.Random(7).shuffle(logins)
    times = []
    for name, known in logins:
        started = time.perf_counter()
        page = visitor.open("/login", username=name, password="a guess", csrf_token=token)
        times.append((time.perf_counter() - started, known))
        assert "Invalid username or password." in page.text
    share = _share_of_right_guesses(times)
    record_property("right guesses", f"{share:.1%} of {len(times) // 2}")
    for kind in (True, False):
        of_kind = [seconds for seconds, known in times if known == kind]
        record_property("known" if kind else "unknown", f"{statistics.median(of_kind):.4f} s")
    assert share < BOUND


def _set_hash(server: Any, database_url: str, password_hash: str) -> None:
    statement = f"UPDATE \"user\" SET password_hash = '{password_hash}'"
    server.execute(statement, database_url.rpartition("/")[2])


def _share_of_right_guesses(times: list[tuple[float, bool]]) -> float:
    """Fit a threshold to the first half of the times; return how well it guesses the second."""
    fitted, judged = times[: len(times) // 2], times[len(times) // 2 :]

    def right(threshold: float, known_is_slow: bool, sample: list[tuple[float, bool]]) -> int:
        return sum(((seconds > threshold) == known) == known_is_slow for seconds, known in sample)

    choices = [(seconds, slow) for seconds, _ in fitted for slow in (True, False)]
    best = max(choices, key=lambda choice: right(*choice, fitted))
    return right(*best, judged) / len(judged)


def test_sixteen_threads_and_32_logins_at_once_use_two_slots(
    gunicorn: Callable[..., Any], database_url: str
) -> None:
    server = gunicorn(DATABASE_URL=database_url, LOGIN_LIMITS=0, WEB_CONCURRENCY=1, WEB_THREADS=16)
    site = f"http://127.0.0.1:{server.port}"
    visitors = [Visitor(site) for _ in range(32)]
    visitors[0].register("susan")
    tokens = [visitor.token("/login") for visitor in visitors]

    def log_in(number: int) -> int:
        fields = {"username": "susan", "password": PASSWORD, "csrf_token": tokens[number]}
        return visitors[number].open("/login", **fields).status

    (worker,) = server.workers()
    with ThreadPoolExecutor(32) as threads:
        statuses = Counter(threads.map(log_in, range(32)))
    assert set(statuses) <= {200, 503}
    assert statuses[200] > 0
    peak = Path(f"/proc/{worker}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 200 * 1024  # kB; sixteen hashes alone would take 300 MiB


# The upgrade, while containers of the previous version still run.

OLD_USER = (
    'INSERT INTO "user" (username, username_lower, email, email_lower, password_hash, about_me,'
    " last_seen) VALUES ('{0}', '{0}', '{1}', '{1}', '{2}', '', now())"
)


def test_the_previous_version_works_with_the_new_tables(
    postgres_server: Any, flask: Callable[..., Any]
) -> None:
    name = postgres_server.create_database("template0")
    url = postgres_server.url(name)
    try:
        assert flask("db", "upgrade", "0001", DATABASE_URL=url).returncode == 0
        postgres_server.execute(OLD_USER.format("susan", "a@b.c", "scrypt:x"), name)
        upgraded = flask("db", "upgrade", DATABASE_URL=url)
        assert upgraded.returncode == 0, upgraded.stderr
        # It still checks that an address is free, but the database does not.
        postgres_server.execute(OLD_USER.format("john", "a@b.c", "scrypt:y"), name)
        rows = postgres_server.execute('SELECT username, old_cookies_until FROM "user"', name)
        assert {username for username, _ in rows} == {"susan", "john"}
        for _, until in rows:
            assert timedelta(days=30) < until - datetime.now(UTC) < timedelta(days=32)
        postgres_server.execute("DELETE FROM \"user\" WHERE username = 'john'", name)
        assert flask("db", "downgrade", "0001", DATABASE_URL=url).returncode == 0
    finally:
        postgres_server.drop_database(name)


def test_the_models_are_what_the_migrations_make(
    flask: Callable[..., Any], database_url: str
) -> None:
    done = flask("db", "check", DATABASE_URL=database_url)
    # The column of the previous version stays until the next version.
    assert "remove_column" in done.stdout + done.stderr
    assert "email_lower" in done.stdout + done.stderr
