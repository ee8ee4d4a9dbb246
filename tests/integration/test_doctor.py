"""``make doctor`` names what would stop ``make up``, and the fix."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

DOCTOR = Path(__file__).resolve().parent.parent.parent / "docker/verbs/doctor"


def doctor(**settings: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "NO_COLOR": "1", **settings}
    return subprocess.run([DOCTOR], env=environ, capture_output=True, text=True, timeout=180)


def test_a_port_that_is_not_a_number_is_a_problem() -> None:
    found = doctor(HTTP_PORT="http")
    assert "problem HTTP_PORT is 'http', which is not a valid port" in found.stdout
    assert found.returncode == 1


def test_a_port_used_by_another_program_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = doctor(MAILHOG_PORT=str(port))
    assert f"problem Port {port} is taken by another program (MAILHOG_PORT)" in found.stdout
    assert "Choose another in .env: MAILHOG_PORT=<port>" in found.stdout
    assert found.returncode == 1


def test_a_missing_engine_is_a_problem_if_it_may_not_be_installed(tmp_path: Path) -> None:
    found = doctor(DOCKER_HOST=f"unix://{tmp_path}/docker.sock", ENGINE="no")
    assert "problem No Docker engine answers" in found.stdout
    assert found.returncode == 1
    assert found.stderr == ""


def test_memory_and_disk_are_measured() -> None:
    found = doctor()
    assert " GiB available" in found.stdout
    assert " GiB free" in found.stdout


def test_a_registry_with_a_port_is_looked_up_by_its_host() -> None:
    found = doctor(PYTHON_IMAGE="localhost:1/python:3")
    assert "The registry localhost:1 does not answer" in found.stdout


def test_without_curl_no_registry_is_called_unreachable(tmp_path: Path) -> None:
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*"):
            if program.name != "curl" and not (tmp_path / program.name).is_symlink():
                (tmp_path / program.name).symlink_to(program)
    found = doctor(PYTHON_IMAGE="localhost:1/python:3", PATH=str(tmp_path))
    assert "because curl is not installed" in found.stdout
    assert "does not answer" not in found.stdout
