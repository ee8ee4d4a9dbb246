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
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
    )
    assert not file.exists()
    assert (done.returncode == 0) == (verb == "help"), done.stderr


def output_of_make(folder: Path, verb: str, script: str, *values: str) -> str:
    """Return what make prints if ``script``, for sh, replaces the command of ``verb``."""
    probe = folder / "probe"
    probe.write_text(f"#!/bin/sh\n{script}\n")
    probe.chmod(0o755)
    makefile = folder / "Makefile"
    makefile.write_text((ROOT / "Makefile").read_text().replace(f"docker/verbs/{verb}", str(probe)))
    command = ["make", "--file", str(makefile), verb, *values]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout


def test_a_value_on_the_command_line_reaches_the_command_as_it_is(tmp_path: Path) -> None:
    script = 'printf \'%s\\n\' "$FILE" "$APP_DIR" "$YES"'
    output = output_of_make(tmp_path, "clean", script, "FILE=a b", "APP_DIR=$(x)`y`", "YES=1")
    assert output.splitlines() == ["a b", "$(x)`y`", "1"]


def test_the_settings_of_the_app_on_the_command_line_are_saved(tmp_path: Path) -> None:
    values = ["APP_DIR=a", "APP=b", "DATABASE_ROLE=owner", "RELEASE=1"]
    output = output_of_make(tmp_path, "up", "printf '%s\\n' $TO_SAVE", *values)
    assert output.split() == ["APP_DIR", "APP", "DATABASE_ROLE"]
