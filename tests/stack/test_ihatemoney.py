"""I hate money from PyPI in the stack, unchanged: an app with a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.compose import Stack
from tests.support.other_apps import assert_reported, from_pypi, started


@pytest.fixture(scope="module")
def ihatemoney(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("ihatemoney")
    app = from_pypi(folder, "ihatemoney>=7,<8\n")
    arguments = [f"APP_DIR={app}", "APP=ihatemoney.wsgi:application"]
    with started(folder, "ihatemoney", *arguments, "INSTANCE_PATH=/etc/ihatemoney") as stack:
        yield stack


def test_ihatemoney_serves_and_its_drills_are_reported(ihatemoney: Stack) -> None:
    assert ihatemoney.get("/healthcheck").status == 200
    printed = ihatemoney.make("drill").stdout
    for part in ("page", "log", "mail"):
        assert f" s  {part} " in printed


def test_two_errors_of_ihatemoney_are_two_mails_with_its_frames(ihatemoney: Stack) -> None:
    """Two of its views fail where the tables they read are gone."""
    for name in ("project", "person"):
        ihatemoney.shell("web", f"python - <<'E'\n{DROP.format(name=name)}\nE")
    answers = [ihatemoney.get("/demo"), ihatemoney.get("/x/")]
    for answer in answers:
        assert_reported(ihatemoney, answer, "OperationalError", "ihatemoney/")
    fingerprints = {ihatemoney.mail_of(a.request_id)["X-Error-Fingerprint"] for a in answers}
    assert len(fingerprints) == 2


DROP = """
import sqlite3
sqlite3.connect("/tmp/ihatemoney.db").execute("DROP TABLE {name}")
"""
