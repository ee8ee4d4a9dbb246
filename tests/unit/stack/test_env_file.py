"""Shell scripts read a setting in .env as Compose does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
READ = '. docker/progress.sh; . docker/settings.sh; env_file=$1; setting_in_env_file "$2"'


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("MIGRATE=plain", "plain"),
        ("MIGRATE='flask init-db'", "flask init-db"),
        ('MIGRATE="flask init-db"  # a comment', "flask init-db"),
        ("export MIGRATE = spaced value  # a comment", "spaced value"),
        ("MIGRATE=a#b\r", "a#b"),
        ('MIGRATE="quoted"\r', "quoted"),
        ("MIGRATE=first\nMIGRATE=last", "last"),
        ("#MIGRATE=off\nMIGRATED=other", ""),
    ],
)
def test_a_value_is_read_without_its_quotes_and_comments(
    tmp_path: Path, line: str, value: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"{line}\n", newline="")
    command = ["bash", "-c", READ, "bash", str(file), "MIGRATE"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{value}\n"
