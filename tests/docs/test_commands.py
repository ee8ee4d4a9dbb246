"""Commands, code and settings that the documentation names exist."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from flask_mayday.cli import group

from .test_links import ROOT, markdown_files

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def code_of(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [found["code"] for found in BLOCK.finditer(text) if found["language"] == language]


def named(path: Path) -> str:
    """Return what is set as code in a page: blocks of shell commands and words in backticks."""
    text = path.read_text(encoding="utf-8")
    return "\n".join([*code_of(path, "sh"), *re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))])


parametrized = pytest.mark.parametrize(
    "path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT))
)


@parametrized
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|\s)make ([a-z][a-z-]*)\b", named(path), re.MULTILINE)) <= targets


@parametrized
def test_every_command_of_flask_reports_exists(path: Path) -> None:
    commands = set(re.findall(r"flask (?:mayday )?reports ([a-z]+)", named(path)))
    assert commands <= set(group.commands)


@parametrized
def test_every_python_example_can_be_parsed(path: Path) -> None:
    for code in code_of(path, "python"):
        ast.parse(textwrap.dedent(code))


@parametrized
def test_every_path_of_the_repository_exists(path: Path) -> None:
    folders = "app|docker|docs|flask_mayday|nginx|tests"
    paths = re.findall(rf"(?:^|\s)((?:{folders})/[\w./-]+)", named(path), re.MULTILINE)
    assert [name for name in paths if not (ROOT / name).exists()] == []
