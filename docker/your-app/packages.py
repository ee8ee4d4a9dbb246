"""Installs Python packages into an image's virtual environment.

``packages.py app VENV FOLDER`` installs an app's requirements unchanged: its
``requirements.txt``, or else its ``pyproject.toml``. ``packages.py ours VENV FOLDER PINS ROOT...``
adds the missing requirements of the roots and of a PostgreSQL driver, with the versions and hashes
in the file PINS. If the app requires another version of the same package, it prints both
requirements and fails. ``packages.py tools VENV PINS ROOT...`` does this without an app.
"""

from __future__ import annotations

import codecs
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.utils import canonicalize_name
from pip._vendor.packaging.version import Version

# The couriers of several machines use it too, whichever driver the app has.
DRIVERS: Final = ("psycopg2-binary", "psycopg2")
ROUNDS: Final = 10  # each installs one level of dependencies
NO_WHEEL: Final = re.compile(r"pg_config|gcc|No such file or directory: '(cc|git)'|compiler", re.I)


class PackageError(Exception):
    """A problem with the packages, and its fix."""


@dataclass(frozen=True)
class RequirementLine:
    """A requirement, and the file and line that name it."""

    place: str
    requirement: Requirement


@dataclass(frozen=True)
class Pip:
    """pip, installing into one virtual environment."""

    venv: Path

    def __call__(self, *arguments: str) -> None:
        """Run pip; raise :exc:`PackageError` with the end of its output if it fails."""
        python = str(self.venv / "bin" / "python")
        command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:
            raise PackageError(_advice(done.stdout))

    def installed(self) -> dict[str, Distribution]:
        """Return what is installed, by normalized name."""
        site = [str(path) for path in self.venv.glob("lib/python3*/site-packages")]
        return {
            canonicalize_name(found.metadata["Name"]): found for found in distributions(path=site)
        }


def install_app(pip: Pip, folder: Path) -> None:
    """Install the packages that the app in ``folder`` names, with the versions that it names."""
    if (folder / "requirements.txt").exists():
        pip("install", "--requirement", str(folder / "requirements.txt"))
        return
    project = _project(folder)
    if project is None:
        return
    try:
        pip("install", str(folder))
    except PackageError:
        dependencies = project.get("dependencies", [])
        if not dependencies:
            raise
        print("The project cannot be built. Installing only its dependencies.")
        pip("install", *dependencies)


def install_ours(pip: Pip, folder: Path, pins: dict[str, str], roots: list[str]) -> None:
    """Install the missing requirements of ``roots`` from ``pins`` (name to lines)."""
    if not any(name in pip.installed() for name in DRIVERS):
        roots = [*roots, DRIVERS[0]]
    install_pinned(pip, folder, pins, roots)
    pip("check")
    (pip.venv / "database_scheme").write_text(database_scheme(pip.installed()))


def install_pinned(pip: Pip, folder: Path | None, pins: dict[str, str], roots: list[str]) -> None:
    """Install the missing ``roots`` and their dependencies, each with its hash."""
    requirements = [Requirement(root) for root in roots]
    for _ in range(ROUNDS):
        wanted = missing(pip.installed(), requirements)
        if not wanted:
            break
        for requirement, origin in wanted:
            _check_conflict(requirement, origin, folder, pins)
        names = sorted({canonicalize_name(requirement.name) for requirement, _ in wanted})
        with NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(pins[name] for name in names))
            file.flush()
            pip("install", "--no-deps", "--require-hashes", "--requirement", file.name)


def database_scheme(installed: dict[str, Distribution]) -> str:
    """Return the scheme of DATABASE_URL: SQLAlchemy 2.1 reads ``postgresql`` as psycopg 3."""
    alchemy = installed.get("sqlalchemy")
    if alchemy is None or "psycopg" in installed or Version(alchemy.version) < Version("2.1"):
        return "postgresql"
    return "postgresql+psycopg2"


def missing(
    installed: dict[str, Distribution], roots: list[Requirement]
) -> list[tuple[Requirement, str]]:
    """Return the requirements of ``roots`` that are not met, each with what requires it."""
    found, seen = [], set()
    waiting = [(root, "the stack") for root in roots]
    while waiting:
        requirement, origin = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, str(requirement)) in seen:
            continue
        seen.add((name, str(requirement)))
        distribution = installed.get(name)
        if distribution is None or not requirement.specifier.contains(
            distribution.version, prereleases=True
        ):
            found.append((requirement, origin))
            continue
        for text in distribution.requires or ():
            dependency = Requirement(text)
            if _applies(dependency, requirement.extras):
                waiting.append((dependency, name))
    return found


def read_pins(path: Path) -> dict[str, str]:
    """Return the pinned requirements of a file, with their hashes, by normalized name."""
    pins: dict[str, str] = {}
    for lines in _logical_lines(path.read_text()):
        match = re.match(r"([A-Za-z0-9._-]+)==", lines)
        if match:
            pins[canonicalize_name(match[1])] = lines + "\n"
    return pins


def lines_of(folder: Path) -> Iterator[RequirementLine]:
    """Yield the requirements that the app itself names."""
    if (folder / "requirements.txt").exists():
        yield from _lines_of_file(folder / "requirements.txt", folder)
        return
    for text in (_project(folder) or {}).get("dependencies", []):
        yield RequirementLine("pyproject.toml", Requirement(text))


def _lines_of_file(path: Path, folder: Path, depth: int = 0) -> Iterator[RequirementLine]:
    if depth > 5 or not path.exists():
        return
    for number, line in enumerate(_decoded(path.read_bytes()).splitlines(), 1):
        text = re.sub(r"\s+#.*|\s*\\$|\s--hash=\S+", "", line.strip())
        if match := re.match(r"(?:-r|--requirement)[\s=]+(\S+)", text):
            yield from _lines_of_file(path.parent / match[1], folder, depth + 1)
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        yield RequirementLine(f"{path.relative_to(folder)}, line {number}", requirement)


def _decoded(content: bytes) -> str:
    """Return the text of a requirements file, which PowerShell writes in UTF-16."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig", "replace")


def _check_conflict(
    requirement: Requirement, origin: str, folder: Path | None, pins: dict[str, str]
) -> None:
    """Raise :exc:`PackageError` if the app's own requirements do not allow our version."""
    name = canonicalize_name(requirement.name)
    if name not in pins:
        raise PackageError(f"{origin} needs {requirement}, but the stack pins no version of it.")
    version = pins[name].partition("==")[2].split()[0]
    for line in lines_of(folder) if folder is not None else ():
        is_same = canonicalize_name(line.requirement.name) == name
        counts = is_same and _applies(line.requirement, ())
        if counts and not line.requirement.specifier.contains(version, prereleases=True):
            raise PackageError(
                f"Your app and the stack need different versions of {name}:\n"
                f"  {line.place}: {line.requirement}\n"
                f"  {origin}: {requirement}\n"
                f"Change your app's requirement. The stack installs {name}=={version}."
            )


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _logical_lines(text: str) -> Iterator[str]:
    return (line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line)


def _project(folder: Path) -> dict[str, list[str]] | None:
    """Return the table [project] of pyproject.toml, or ``None`` if there is nothing to install."""
    try:
        found = tomllib.loads((folder / "pyproject.toml").read_text())
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"pyproject.toml cannot be read: {error}") from error
    if "project" not in found and "build-system" not in found:
        return None  # the settings of tools only
    project: dict[str, list[str]] = found.get("project", {})
    return project


def _advice(output: str) -> str:
    if NO_WHEEL.search(output):
        return (
            "A package must be compiled, or fetched with git, but the image has no tools for that. "
            "Use a package with a wheel: psycopg2-binary instead of psycopg2, for example."
        )
    return "pip failed: see above."


def main(arguments: list[str]) -> int:
    """Run the command in the arguments; return 1 after printing an error."""
    command, venv, path, *rest = arguments
    pip = Pip(Path(venv))
    try:
        if command == "app":
            install_app(pip, Path(path))
        elif command == "tools":
            install_pinned(pip, None, read_pins(Path(path)), rest)
        else:
            install_ours(pip, Path(path), read_pins(Path(rest[0])), rest[1:])
    except PackageError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
