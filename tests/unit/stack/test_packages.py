"""The packages of an image: the app's as they are, ours with hashes, and what does not fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def packages(load: Callable[[str], Any]) -> Any:
    return load("docker/your-app/packages.py")


def test_a_version_that_the_app_forbids_fails_with_both_lines(
    packages: Any, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("-r more.txt\n")
    (tmp_path / "more.txt").write_text("# a comment\nFlask==2.0.3  # old\n")
    pip = packages.Pip(Path(sys.prefix))
    with pytest.raises(packages.PackageError) as caught:
        packages.install_pinned(pip, tmp_path, {"flask": "flask==99.1 \n"}, ["flask>=99"])
    message = str(caught.value)
    assert "more.txt, line 2: Flask==2.0.3" in message
    assert "the stack: flask>=99" in message
    assert "The stack installs flask==99.1" in message


def test_a_line_for_another_version_of_python_is_no_conflict(packages: Any, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text('Flask==2.0.3; python_version < "3.9"\nFlask>=3\n')
    found = packages.Requirement("flask")
    pins = {"flask": "flask==99.1 \n"}
    packages._check_conflict(found, "the stack", tmp_path, pins)
    (tmp_path / "requirements.txt").write_text('Flask==2.0.3; python_version >= "3.9"\n')
    with pytest.raises(packages.PackageError, match="line 1: Flask==2"):
        packages._check_conflict(found, "the stack", tmp_path, pins)


def test_the_dependencies_of_pyproject_are_lines_of_the_app_too(
    packages: Any, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["gunicorn<20"]\n')
    [line] = packages.lines_of(tmp_path)
    assert (line.place, str(line.requirement)) == ("pyproject.toml", "gunicorn<20")


def test_packages_that_the_app_has_installed_are_kept(packages: Any) -> None:
    installed = packages.Pip(Path(sys.prefix)).installed()
    assert packages.missing(installed, [packages.Requirement("flask>=2.3")]) == []


def test_a_missing_dependency_of_a_root_is_found_with_who_needs_it(packages: Any) -> None:
    installed = packages.Pip(Path(sys.prefix)).installed()
    del installed["werkzeug"]
    [(requirement, origin)] = packages.missing(installed, [packages.Requirement("flask")])
    assert requirement.name.lower() == "werkzeug"
    assert origin == "flask"


def test_a_pin_is_read_with_its_hashes(packages: Any, load: Callable[[str], Any]) -> None:
    root = Path(packages.__file__).parents[2]
    pins = packages.read_pins(root / "requirements.txt")
    assert pins["flask"].startswith(f"flask=={version('flask')} ")
    assert "--hash=sha256:" in pins["flask"]
    assert pins["flask"].count("\n") == 1


def test_the_url_of_the_database_names_psycopg2_where_sqlalchemy_would_look_for_psycopg_3(
    packages: Any,
) -> None:
    installed = packages.Pip(Path(sys.prefix)).installed()
    assert packages.database_scheme(installed) == "postgresql+psycopg2"
    assert packages.database_scheme({**installed, "psycopg": object()}) == "postgresql"
    del installed["sqlalchemy"]
    assert packages.database_scheme(installed) == "postgresql"


def test_a_requirements_file_that_powershell_has_written_is_read(
    packages: Any, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_bytes("Flask==2.0.3\r\n".encode("utf-16"))
    [line] = packages.lines_of(tmp_path)
    assert (line.place, str(line.requirement)) == ("requirements.txt, line 1", "Flask==2.0.3")


def test_a_pyproject_that_is_no_toml_is_named(packages: Any, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with pytest.raises(packages.PackageError, match=r"^pyproject\.toml cannot be read: .*line 1"):
        packages.install_app(packages.Pip(Path(sys.prefix)), tmp_path)


def keep_requirements(app: Path) -> None:
    subprocess.run(["sh", ROOT / "docker/your-app/requirements-only", app], check=True)


@pytest.mark.parametrize("include", ["-r ", "-r", "--requirement=", "-c "])
def test_an_app_whose_other_requirements_file_names_one_of_its_folders_is_kept_whole(
    tmp_path: Path, include: str
) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements.txt").write_text(f"{include}requirements/production.txt\n")
    (tmp_path / "requirements" / "production.txt").write_text("-r base.txt\n")
    (tmp_path / "requirements" / "base.txt").write_text("-r production.txt\n./library\n")
    module = tmp_path / "library.py"
    module.touch()
    keep_requirements(tmp_path)
    assert module.exists()
    (tmp_path / "requirements" / "base.txt").write_text("-r production.txt\nflask\n")
    keep_requirements(tmp_path)
    assert not module.exists()


def test_only_the_requirements_are_kept_if_a_file_that_pip_does_not_read_names_a_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "requirements.txt").write_text("flask\n")
    (tmp_path / "requirements-dev.txt").write_text("-r requirements.txt\n-e .\n")
    module = tmp_path / "library.py"
    module.touch()
    keep_requirements(tmp_path)
    assert not module.exists()
