"""A checkout works whatever the settings of its git are."""

from __future__ import annotations

from pathlib import Path

from .conftest import ROOT, run


def test_no_line_ends_in_crlf_where_git_converts_line_ends(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run("git", "clone", "--quiet", "--config", "core.autocrlf=true", str(ROOT), str(clone))
    files = run("git", "ls-files", "--eol", folder=clone).splitlines()
    assert len(files) > 100
    assert not [line for line in files if "w/crlf" in line or "w/mixed" in line]
