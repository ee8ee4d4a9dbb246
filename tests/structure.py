"""Checks sizes and names that no linter checks: ``python -m tests.structure``.

Import rules between packages are import-linter's, in pyproject.toml.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "flask_mayday"
CHECKED: Final = (PACKAGE, "app", "deploy", "docker", "docs")
MODULE_LINES: Final = 300
FUNCTION_LINES: Final = 40
PACKAGE_SHARE: Final = 0.25
NAMELESS: Final = frozenset({"utils", "helpers", "manager", "common", "misc"})


def main() -> int:
    """Print every violation under the repository's root; return 1 if there are any."""
    found = list(violations(ROOT))
    for violation in found:
        print(violation)
    return 1 if found else 0


def violations(root: Path) -> Iterator[str]:
    """Yield a line for each rule that a module, function or package under ``root`` breaks."""
    lines: Counter[str] = Counter()
    for folder in CHECKED:
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            name = path.relative_to(root).as_posix()
            yield from in_module(name, source)
            if folder == PACKAGE:
                lines[path.relative_to(root / PACKAGE).parts[0]] += source.count("\n")
                yield from imports_of_the_root(name, source)
    total = sum(lines.values())
    for package, count in lines.items():
        if not package.endswith(".py") and count > PACKAGE_SHARE * total:
            yield (
                f"{PACKAGE}/{package}: {count} of {total} lines, more than "
                f"{PACKAGE_SHARE:.0%} of the code: split it."
            )


def in_module(name: str, source: str) -> Iterator[str]:
    """Yield what is too long, or has a name that says nothing, in one module."""
    count = source.count("\n")
    if count > MODULE_LINES:
        yield f"{name}: {count} lines, more than {MODULE_LINES}."
    if Path(name).stem in NAMELESS:
        yield f"{name}: name the module after what is in it."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield (
                    f"{name}:{node.lineno}: {node.name} has {length} lines, "
                    f"more than {FUNCTION_LINES}."
                )


def imports_of_the_root(name: str, source: str) -> Iterator[str]:
    """Yield imports of the package's ``__init__``, which re-exports the modules that import it."""
    if name == f"{PACKAGE}/__init__.py":
        return
    modules = {path.stem for path in (ROOT / PACKAGE).iterdir()}
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name == PACKAGE]
        elif isinstance(node, ast.ImportFrom):
            relative = node.level == name.count("/") and node.module is None
            if relative or (node.level == 0 and node.module == PACKAGE):
                names = [alias.name for alias in node.names if alias.name not in modules]
        if names:
            yield f"{name}:{node.lineno}: imports {', '.join(names)} from {PACKAGE}/__init__.py."


if __name__ == "__main__":
    sys.exit(main())
