"""The lease: one of the processes on a spool delivers, and a dead one loses the lease."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_mayday.courier import lease as lease_module
from flask_mayday.courier.lease import EXPIRY, Lease, expired_since, is_locked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the monotonic clock by some seconds."""
    now = [1000.0]
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: now[0])

    def go_by(seconds: float) -> None:
        now[0] += seconds

    return go_by


def test_one_process_holds_the_lease_at_a_time(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    assert is_locked(tmp_path)
    first.release()
    assert not is_locked(tmp_path)
    assert second.acquire()
    second.release()


def test_a_lease_that_is_renewed_does_not_expire(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    assert first.acquire()
    for _ in range(10):
        assert not second.acquire()
        clock(EXPIRY - 1)
        first.renew()
    assert not second.acquire()
    first.release()


def test_a_lease_that_is_not_renewed_expires_and_its_holder_notices(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    first, second, third = Lease(tmp_path), Lease(tmp_path), Lease(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    clock(EXPIRY - 1)
    assert not second.acquire()
    clock(1)
    assert second.acquire()
    assert second.was_expired
    assert not first.is_held()
    assert not third.acquire()
    first.release()
    assert second.is_held()
    assert [path.name for path in tmp_path.iterdir()] == ["courier.lock"]
    second.release()


def test_a_process_that_was_frozen_does_not_take_over_at_once(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    """Both were suspended with their machine; the holder renews as soon as it resumes."""
    first, second = Lease(tmp_path), Lease(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    first.renew()
    clock(1000)
    assert not second.acquire()
    first.release()


def test_the_lease_of_an_earlier_version_does_not_expire(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    """An earlier version locks the file, leaves it empty and never renews it."""
    with (tmp_path / "courier.lock").open("w") as old:
        fcntl.flock(old, fcntl.LOCK_EX)
        lease = Lease(tmp_path)
        for _ in range(3):
            assert not lease.acquire()
            clock(EXPIRY)
        assert expired_since(tmp_path) is None
    assert lease.acquire()
    lease.release()


def test_the_lease_of_a_killed_process_is_taken_over_at_once(
    tmp_path: Path, in_child: Callable[[Callable[[], object]], int]
) -> None:
    def hold_and_die() -> None:
        assert Lease(tmp_path).acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold_and_die) == -signal.SIGKILL
    lease = Lease(tmp_path)
    assert lease.acquire()
    assert not lease.was_expired
    lease.release()


def test_a_forked_child_does_not_keep_the_lease_of_its_parent(
    tmp_path: Path, in_child: Callable[[Callable[[], object]], int]
) -> None:
    """A view that starts processes must not keep the lease from others when its worker dies."""
    lease = Lease(tmp_path)
    assert lease.acquire()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"started")
        signal.pause()
    try:
        os.read(read, 1)
        lease.release()
        assert not is_locked(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_an_expired_lease_is_seen_from_outside(tmp_path: Path) -> None:
    assert expired_since(tmp_path) is None
    lease = Lease(tmp_path)
    assert lease.acquire()
    assert expired_since(tmp_path) is None
    long_ago = time.time() - EXPIRY - 1
    os.utime(lease.path, (long_ago, long_ago))
    assert expired_since(tmp_path) == pytest.approx(long_ago, abs=1)
    lease.release()
    assert expired_since(tmp_path) is None  # no process holds it: the next one acquires it
