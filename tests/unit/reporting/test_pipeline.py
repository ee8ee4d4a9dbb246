"""Pipelines of one process that share a spool share its courier, which ends with the last one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.courier.courier import Courier
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.settings import read_settings

WaitUntil = Callable[..., Any]


@pytest.fixture
def make_pipeline(tmp_path: Path) -> Callable[..., Pipeline]:
    def make(**settings: object) -> Pipeline:
        known = {"SPOOL_DIR": tmp_path / "spool", "LOG_DIR": tmp_path / "logs", **settings}
        made = Pipeline(read_settings(known, environ={}), Redactor([]))
        made.ensure_delivery()
        return made

    return make


def is_running(courier: Courier) -> bool:
    """Return whether a courier runs; those of other tests may run too."""
    return courier._thread is not None and courier._thread.is_alive()


def test_a_courier_runs_until_its_last_pipeline_is_gone(
    make_pipeline: Callable[..., Pipeline], wait_until: WaitUntil
) -> None:
    first, second = make_pipeline(), make_pipeline()
    courier = second.courier
    assert first.courier is courier
    del first
    gc.collect()
    assert not courier._stopping.is_set()
    del second
    gc.collect()
    wait_until(lambda: not is_running(courier), "the end of the courier")


def test_a_courier_with_other_settings_ends_with_its_own_pipeline(
    make_pipeline: Callable[..., Pipeline], wait_until: WaitUntil
) -> None:
    first, second = make_pipeline(), make_pipeline(REPORT_WINDOW=60)
    one, other = first.courier, second.courier
    assert one is not other
    assert is_running(one)
    del first
    gc.collect()
    wait_until(lambda: not is_running(one), "the end of the first courier")
    assert is_running(other)
    del second
    gc.collect()
    wait_until(lambda: not is_running(other), "the end of the second courier")


def test_a_pipeline_made_after_the_last_one_is_gone_delivers_again(
    make_pipeline: Callable[..., Pipeline], wait_until: WaitUntil
) -> None:
    first = make_pipeline()
    stopped = first.courier  # still known here, as to a thread that has not ended yet
    del first
    gc.collect()
    second = make_pipeline()
    assert stopped._stopping.is_set()
    assert second.courier is not stopped
    wait_until(lambda: not is_running(stopped), "the end of the first courier")
    courier = second.courier
    assert is_running(courier)
    del second
    gc.collect()
    wait_until(lambda: not is_running(courier), "the end of the second courier")
