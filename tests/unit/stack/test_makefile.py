"""What is given on make's command line reaches the commands as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_values_reach_the_commands_and_are_not_evaluated(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_text('#!/bin/sh\nprintf \'%s\\n\' "$FILE" "$APP_DIR" "$YES"\n')
    probe.chmod(0o755)
    makefile = tmp_path / "Makefile"
    makefile.write_text((ROOT / "Makefile").read_text().replace("docker/verbs/clean", str(probe)))
    value = f"$(shell touch {tmp_path}/made)`touch {tmp_path}/made`"
    done = subprocess.run(
        ["make", "--file", str(makefile), "clean", "FILE=a b", f"APP_DIR={value}", "YES=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["a b", value, "1"]
    assert not (tmp_path / "made").exists()
