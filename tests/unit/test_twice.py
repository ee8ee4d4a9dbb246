"""A few failed tests are run once more by ``make check`` and ``make test``, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIRST_TIME = """
from pathlib import Path

import pytest


def first_time():
    mark = Path(__file__).with_suffix(".seen")
    seen = mark.exists()
    mark.touch()
    return not seen

"""
PASSES = "def test_passes():\n    pass\n"
FAILS_ONCE = "def test_fails_once():\n    assert not first_time()\n"
FAILS = "def test_fails():\n    assert False\n"
SIX_FAIL = "@pytest.mark.parametrize('n', range(6))\ndef test_fails(n):\n    assert False\n"
SETUP_FAILS_ONCE = (
    "@pytest.fixture(scope='module')\ndef started():\n    assert not first_time()\n\n"
    + "@pytest.mark.parametrize('n', range(6))\ndef test_needs_it(n, started):\n    pass\n"
)


# Without the other plugins pytest starts in half the time.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "-p xdist.plugin",
    "TWICE": "1",
}


def run(folder: Path, source: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Write a test module and run it; return the exit status and the output."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_one.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "tests.twice", "phase", "test_one.py", *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_test_that_passes_at_the_second_try_is_named(tmp_path: Path) -> None:
    source = FIRST_TIME + PASSES + FAILS_ONCE
    status, output = run(tmp_path, source, "--numprocesses=2")
    assert status == 0, output
    assert "PASSED AT THE SECOND TRY, fix it: test_one.py::test_fails_once\n" in output
    assert "fix it: test_one.py::test_passes" not in output


def test_tests_with_the_same_error_in_set_up_count_as_one(tmp_path: Path) -> None:
    status, output = run(tmp_path, FIRST_TIME + SETUP_FAILS_ONCE, "--numprocesses=1")
    assert status == 0, output
    assert output.count("PASSED AT THE SECOND TRY, fix it: test_one.py::test_needs_it") == 6


def test_a_test_that_is_skipped_at_the_second_try_fails_the_run(tmp_path: Path) -> None:
    skips = "def test_skips():\n    first_time() or pytest.skip('later')\n    assert False\n"
    status, output = run(tmp_path, FIRST_TIME + skips)
    assert status == 1, output
    assert "PASSED AT THE SECOND TRY" not in output


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    status, output = run(tmp_path, FIRST_TIME + FAILS_ONCE + FAILS)
    assert status == 1, output
    assert "PASSED AT THE SECOND TRY, fix it: test_one.py::test_fails_once\n" in output


@pytest.mark.parametrize(
    ("source", "environment", "expected"),
    [
        (FIRST_TIME + SIX_FAIL, {}, 1),
        (FIRST_TIME + FAILS_ONCE, {"TWICE": "0"}, 1),
        (PASSES, {}, 0),
        (PASSES, {"PYTEST_ADDOPTS": "--no-such-option"}, 4),
    ],
    ids=["six failures", "turned off", "no failure", "wrong option"],
)
def test_there_is_no_second_try(
    tmp_path: Path, source: str, environment: dict[str, str], expected: int
) -> None:
    status, output = run(tmp_path, source, **environment)
    assert status == expected, output
    assert "A second try" not in output
