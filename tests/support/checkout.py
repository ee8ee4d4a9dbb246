"""Fresh clones of this checkout, each to start a stack of its own from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.compose import ROOT


def clone_checkout(clone: Path) -> Path:
    """Clone this checkout, with what is not committed yet, so that the tests test what is there."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("git diff HEAD --binary", "git ls-files --others --exclude-standard -z"):
        _copy_uncommitted(clone, name)
    return clone


def _copy_uncommitted(clone: Path, command: str) -> None:
    output = subprocess.run(command.split(), cwd=ROOT, capture_output=True, check=True).stdout
    if "diff" in command:
        if output:
            subprocess.run(["git", "apply"], cwd=clone, input=output, check=True)
        return
    for name in filter(None, output.decode().split("\0")):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
        target.chmod((ROOT / name).stat().st_mode)
