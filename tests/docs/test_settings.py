"""docs/settings.md lists every setting that is read, with the defaults that it has in the code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_mayday.settings import SettingsReader, read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
ROW = re.compile(
    r"^\| `(?P<name>[A-Z0-9_]+)` \| (?P<app>[^|]+) \| (?P<stack>[^|]+) \|", re.MULTILINE
)


@dataclass(frozen=True)
class Documented:
    """The defaults of one setting, as the table writes them; ``None`` where it has none."""

    app: str | None
    stack: str | None


def _value(cell: str) -> str | None:
    return None if cell.strip() == "-" else cell.strip().strip("`")


@pytest.fixture(scope="module")
def documented() -> dict[str, Documented]:
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    rows = list(ROW.finditer(text))
    assert len(rows) == len({row["name"] for row in rows}), "a setting is listed twice"
    return {row["name"]: Documented(_value(row["app"]), _value(row["stack"])) for row in rows}


class _Recorder(SettingsReader):
    """Notes which names are read, and the defaults of those that have one."""

    read: dict[str, str | None]

    def _sources(self, name: str) -> tuple[object, ...]:  # type: ignore[override]
        self.read.setdefault(name, None)
        return super()._sources(name)

    def secret(self, name: str) -> str | None:
        value = super().secret(name)
        del self.read[f"{name}_FILE"]
        return value

    def integer(self, name: str, default: int, *limits: int) -> int:
        value = super().integer(name, default, *limits)
        self.read[name] = str(default)
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = super().boolean(name, default)
        self.read[name] = str(int(default))
        return value

    def choice(self, name: str, default: str, *rest: object) -> str:
        value = super().choice(name, default, *rest)  # type: ignore[arg-type]
        self.read[name] = default
        return value


@pytest.fixture
def read_by_the_extension(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Return every name that the extension reads, with its default where that is fixed."""
    _Recorder.read = {}
    monkeypatch.setattr("flask_mayday.settings.SettingsReader", _Recorder)
    agreement = {"COURIERS_AGREE": "1", "NODE_NAME": "one", "AGREEMENT_URL": "postgresql://db/app"}
    read_settings({}, environ=agreement)  # the others are read in any case
    return _Recorder.read


@pytest.fixture(scope="module")
def in_the_stack() -> dict[str, str | None]:
    """Return the variables of the stack's files, with the defaults of .env.example or Compose."""
    found: dict[str, str | None] = {}
    names = ("compose.yaml", "docker/variants.yaml", "compose.debug.yaml", "compose.metrics.yaml")
    for file in (ROOT / name for name in names):
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for name, default in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)(?::?-([^}]*)|[^}]*)\}", text):
            found[name] = found.get(name) or default or None
    found.update(_in_the_example_file())
    return found


def _in_the_example_file() -> dict[str, str | None]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    found = re.findall(r"^#([A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
    return {name: value or None for name, value in found}


def _in_the_demo() -> set[str]:
    text = (ROOT / "app/config.py").read_text(encoding="utf-8")
    return set(re.findall(r'reader\.[a-z_]+\("([A-Z0-9_]+)"', text)) | {"SECRET_KEY"}


def test_every_setting_is_documented_and_every_documented_one_is_read(
    documented: dict[str, Documented],
    read_by_the_extension: dict[str, str | None],
    in_the_stack: dict[str, str | None],
) -> None:
    read = set(read_by_the_extension) | set(in_the_stack) | _in_the_demo()
    assert sorted(read - set(documented)) == [], "read and not documented"
    assert sorted(set(documented) - read) == [], "documented and not read"


def test_the_defaults_of_the_extension_are_those_of_the_code(
    documented: dict[str, Documented], read_by_the_extension: dict[str, str | None]
) -> None:
    fixed = {name: default for name, default in read_by_the_extension.items() if default}
    assert len(fixed) > 15
    assert {name: documented[name].app for name in fixed} == fixed


def test_the_defaults_of_the_stack_are_those_of_its_files(
    documented: dict[str, Documented], in_the_stack: dict[str, str | None]
) -> None:
    given = {name: default for name, default in in_the_stack.items() if default}
    assert len(given) > 20
    assert {name: documented[name].stack for name in given} == given


def test_the_example_file_gives_the_defaults_of_compose() -> None:
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for name, value in _in_the_example_file().items():
        default = re.search(rf"\$\{{{name}:?-([^}}]*)\}}", compose)
        if default is not None and value is not None:
            assert default[1] == value, name
