"""Pipelines of one process that share a spool share its courier, which ends with the last one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def couriers() -> int:
    return sum(thread.name == "courier" for thread in threading.enumerate())


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
    wait_until(lambda: couriers() == 0, "the end of the courier")


def test_a_courier_with_other_settings_ends_with_its_own_pipeline(
    make_pipeline: Callable[..., Pipeline], wait_until: WaitUntil
) -> None:
    first, second = make_pipeline(), make_pipeline(REPORT_WINDOW=60)
    assert couriers() == 2
    del first
    gc.collect()
    wait_until(lambda: couriers() == 1, "the end of the first courier")
    assert not second.courier._stopping.is_set()
    del second
    gc.collect()
    wait_until(lambda: couriers() == 0, "the end of the second courier")


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
    wait_until(lambda: couriers() == 1, "the end of the first courier")
    assert not second.courier._stopping.is_set()
    del second
    gc.collect()
    wait_until(lambda: couriers() == 0, "the end of the second courier")
