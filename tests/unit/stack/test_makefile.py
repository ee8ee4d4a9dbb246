"""Values on make's command line are data: neither make nor a shell runs what is in them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "form", ["$(shell touch {})", "$(touch {})", "`touch {}`", "'; touch {} '"]
)
@pytest.mark.parametrize(
    ("verb", "name"),
    [("logs", "REQUEST"), ("scale", "N"), ("help", "APP_DIR"), ("help", "COMPOSE_PROJECT_NAME")],
)
def test_a_value_on_the_command_line_is_not_run(
    tmp_path: Path, verb: str, name: str, form: str
) -> None:
    file = tmp_path / "run"
    value = form.format(file)
    command = ["make", "--silent", verb, f"{name}={value}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert not file.exists()
    assert (done.returncode == 0) == (verb == "help"), done.stderr
