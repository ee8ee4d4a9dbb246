"""What these tests share: the wheel, interpreters, virtual environments and an SMTP sink."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

ROOT = Path(__file__).resolve().parent.parent.parent
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a command in ``folder`` and return its output; fail with it where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def interpreters() -> dict[str, Path]:
    """Return the supported Python versions that this machine has, each with its interpreter.

    pyenv's shims say which versions exist and run none but the selected one, so that its
    versions are looked up in its own folder.
    """
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if pyenv := shutil.which("pyenv"):
        versions = Path(run(pyenv, "root").strip(), "versions")
        folders += [str(path) for path in sorted(versions.glob("*/bin"), reverse=True)]
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": Path(sys.executable)}
    for version in SUPPORTED:
        for folder in folders:
            candidate = Path(folder, f"python{version}")
            if version not in found and _is_python(candidate, version):
                found[version] = candidate
    return found


def _is_python(path: Path, version: str) -> bool:
    if not path.is_file():
        return False
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=180)
    return done.stdout.startswith(f"Python {version}.")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the build backend of the development requirements, offline."""
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).with_name("uv")
    build = ("build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable)
    run(uv, *build, "--out-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def make_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a factory of virtual environments that hold the wheel and what it requires.

    ``make_environment("3.12", "flask==2.3.*", extra="gunicorn")`` returns the folder of the
    environment's programs; the same arguments return the same environment.
    """
    made: dict[tuple[object, ...], Path] = {}

    def make(version: str, *requirements: str, extra: str = "") -> Path:
        key = (version, requirements, extra)
        if key not in made:
            folder = tmp_path_factory.mktemp(re.sub(r"\W", "_", f"python{version}"))
            uv = Path(sys.executable).with_name("uv")
            run(uv, "venv", "--quiet", "--python", interpreters()[version], folder / "venv")
            wanted = f"{wheel}[{extra}]" if extra else str(wheel)
            python = folder / "venv/bin/python"
            run(uv, "pip", "install", "--quiet", "--python", python, wanted, *requirements)
            made[key] = folder / "venv/bin"
        return made[key]

    return make


class Sink:
    """An SMTP server that accepts every mail and keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[EmailMessage] = []
        self.controller = Controller(self, hostname="127.0.0.1", port=port, ready_timeout=60)

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802 - aiosmtpd's name
        content: bytes = envelope.content  # type: ignore[attr-defined]
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@pytest.fixture
def sink(free_port: Callable[[], int]) -> Iterator[Sink]:
    """Run an SMTP server for one test."""
    server = Sink(free_port())
    server.controller.start()
    yield server
    server.controller.stop()
