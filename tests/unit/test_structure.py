"""The rules of ``make lint`` that no linter knows."""

from __future__ import annotations

from pathlib import Path

from tests.structure import in_module, violations


def test_a_function_of_41_lines_is_too_long() -> None:
    def source(lines: int) -> str:
        return "def long():\n" + "    pass\n" * (lines - 1)

    assert not list(in_module("app/routes.py", source(40)))
    assert "long has 41 lines" in next(in_module("app/routes.py", source(41)))


def test_a_module_of_301_lines_is_too_long() -> None:
    assert not list(in_module("app/routes.py", "x = 1\n" * 300))
    assert "301 lines" in next(in_module("app/routes.py", "x = 1\n" * 301))


def test_a_module_is_not_named_utils() -> None:
    assert "name the module" in next(in_module("app/utils.py", ""))


def test_no_package_holds_more_than_a_quarter_of_the_code(tmp_path: Path) -> None:
    for package, lines in {"a": 25, "b": 25, "c": 25, "d": 25}.items():
        (tmp_path / "flask_mayday" / package).mkdir(parents=True)
        (tmp_path / "flask_mayday" / package / "x.py").write_text("x = 1\n" * lines)
    assert not list(violations(tmp_path))
    (tmp_path / "flask_mayday" / "d" / "y.py").write_text("x = 1\n")
    assert [line.partition(":")[0] for line in violations(tmp_path)] == ["flask_mayday/d"]


def test_nothing_inside_the_package_imports_what_its_init_re_exports(tmp_path: Path) -> None:
    module = tmp_path / "flask_mayday" / "cli.py"
    module.parent.mkdir()
    for line in ("import flask_mayday", "from flask_mayday import Mayday", "from . import Mayday"):
        module.write_text(line)
        assert "imports" in next(violations(tmp_path))
    module.write_text("from . import health\nfrom .settings import Settings\n")
    assert not list(violations(tmp_path))
