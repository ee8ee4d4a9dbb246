"""Runs pytest, then a few failed tests once more: ``python -m tests.twice PHASE ARGUMENTS``.

A test that passes only at the second try is named at the end, and does not fail the run. With
``TWICE=0`` in the environment there is no second try.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

MOST_FAILURES: Final = 5
ALONE: Final = (
    *("--numprocesses=0", "--last-failed", "--last-failed-no-failures=none"),
    *("-p", "tests.twice"),
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Let a test that is skipped at the second try, where this module is a plugin, fail."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


class FailureCauses:
    """A pytest plugin that counts the failed tests; tests with the same error in set-up are one."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            shared = report.when == "setup" and crash is not None
            self.found.add(str(crash) if shared else report.nodeid)


def main(phase: str, *arguments: str) -> int:
    """Run pytest with ``arguments`` and return its exit status, perhaps that of a second try.

    ``phase`` names the cache of failed tests, which other runs of pytest must not share.
    """
    cache = Path.cwd() / ".pytest_cache" / phase
    shutil.rmtree(cache, ignore_errors=True)
    command = [*arguments, f"--override-ini=cache_dir={cache}"]
    causes = FailureCauses()
    status = int(pytest.main(command, plugins=[causes]))
    if status != pytest.ExitCode.TESTS_FAILED or os.environ.get("TWICE") == "0":
        return status
    if len(causes.found) > MOST_FAILURES:
        print(f"No second try: more than {MOST_FAILURES} tests failed.", flush=True)
        return status
    failed = last_failed(cache)
    print(f"\nA second try of {len(failed)} failed tests, alone.", flush=True)
    # In a new process: what the first run has left in this one must not matter.
    again = [sys.executable, "-m", "pytest", *command, *ALONE]
    status = subprocess.run(again, check=False).returncode
    is_complete = status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    for test in sorted(failed - last_failed(cache)) if is_complete else ():
        print(f"PASSED AT THE SECOND TRY, fix it: {test}", flush=True)
    return status


def last_failed(cache: Path) -> set[str]:
    """Return the ids of the tests that failed in the last run with this cache folder."""
    file = cache / "v/cache/lastfailed"
    return set(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else set()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
