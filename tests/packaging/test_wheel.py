"""What the wheel holds and asks for."""

from __future__ import annotations

from email import message_from_string
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

import flask_mayday

from .conftest import ROOT


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "flask_mayday").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == there
    assert "flask_mayday/py.typed" in held


def test_the_version_stands_in_the_package_alone(metadata: Message) -> None:
    assert metadata["Version"] == flask_mayday.__version__
    assert flask_mayday.__version__ not in (ROOT / "pyproject.toml").read_text()


def test_the_wheel_carries_its_licence(metadata: Message, wheel: Path) -> None:
    assert metadata["License-Expression"] == "MIT"
    with ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_flask_is_the_only_framework_that_is_required(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    always = [line for line in required if "extra ==" not in line]
    names = {line.split(">")[0].split("<")[0].strip() for line in always}
    assert "flask>=2.3" in always
    assert names <= {"flask", "ahocorasick-rs"}


def test_the_extra_gunicorn_allows_one_major_series(metadata: Message) -> None:
    assert metadata.get_all("Provides-Extra") == ["agreement", "gunicorn", "metrics"]
    required = metadata.get_all("Requires-Dist", [])
    assert "gunicorn<28,>=27; extra == 'gunicorn'" in required
