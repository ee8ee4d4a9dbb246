"""The shell scripts of the containers read settings as the app does: spaces and zeros in front."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(script: Path, folder: Path, *arguments: str, **settings: str) -> str:
    """Run a script; return its output. Programs in ``folder`` come before the machine's."""
    done = subprocess.run(
        ["sh", script, *arguments],
        env={"PATH": f"{folder}:/usr/bin:/bin", **settings},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(folder: Path, name: str, code: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("value", "makes"), [("1", True), (" On ", True), ("0", False)])
def test_migrate_makes_the_tables_of_the_couriers_if_they_agree(
    tmp_path: Path, value: str, makes: bool
) -> None:
    program(tmp_path, "python", 'echo "$@"')
    output = run(ROOT / "docker/stack/migrate", tmp_path, MAYDAY_COURIERS_AGREE=value)
    assert ("agreement_tables.py" in output) == makes


def test_a_space_around_metrics_does_not_turn_them_off(tmp_path: Path) -> None:
    script = tmp_path / "entrypoint"
    text = (ROOT / "docker/stack/entrypoint").read_text()
    script.write_text(text.replace("/dev/shm", str(tmp_path)))
    program(tmp_path, "gunicorn", 'echo "$PROMETHEUS_MULTIPROC_DIR"')
    settings = {"MAYDAY_STATUS_PORT": "8001", "STATUS_ADDRESS": "127.0.0.1"}
    output = run(script, tmp_path, "gunicorn", MAYDAY_METRICS=" 1", **settings)
    assert output.strip() == str(tmp_path / "metrics")


def test_zeros_in_front_of_a_number_do_not_stop_the_database_roles(tmp_path: Path) -> None:
    program(tmp_path, "psql", 'echo "$@"; cat >/dev/null')
    for name in ("app_password", "web_password", "postgres_password"):
        (tmp_path / name).touch()
    (tmp_path / ".app_login").write_text("app\n")
    (tmp_path / ".web_login").write_text("app_web\n")
    settings = {"WEB_THREADS": "019", "WEB_CONCURRENCY": " 08"}
    output = run(ROOT / "docker/postgres/roles", tmp_path, ROLES_SECRETS=str(tmp_path), **settings)
    assert f"limit={2 * 8 * (19 + 1) + 5}\n" in output


def test_virtual_environments_are_left_out_of_the_image_even_around_the_app(tmp_path: Path) -> None:
    for name in ("pyvenv.cfg", "lib/python3.13/a.py", "lib/mine.py", "venv/pyvenv.cfg", "app.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run(ROOT / "docker/your-app/leave-out", tmp_path, str(tmp_path))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"app.py", "lib/mine.py"}
