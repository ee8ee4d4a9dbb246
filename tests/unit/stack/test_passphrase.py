"""The passphrase of a backup: from a file or the terminal, long enough, never printed."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Return a function that runs the program without a terminal and returns what it prints."""
    module = load("docker/verbs/passphrase.py")
    monkeypatch.setattr(module, "has_terminal", lambda: False)

    def run(*arguments: str, **environment: str) -> Any:
        for name in ("PLAIN", "BACKUP_PASSPHRASE_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["passphrase.py", *arguments])
        module.main()
        return json.loads(capsys.readouterr().out)

    return run


def a_file(path: Path, first: str) -> str:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(first)
        tar.addfile(info, io.BytesIO())
    return str(path)


def test_the_passphrase_comes_from_a_file_and_is_printed_with_the_manifest(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "p").write_text("twelve chars\n")
    header = run("new", "postgres=17.6", BACKUP_PASSPHRASE_FILE=str(tmp_path / "p"))
    assert header["passphrase"] == "twelve chars"
    assert header["manifest"]["postgres"] == "17.6"
    assert run("new", PLAIN="1")["passphrase"] is None


def test_a_short_a_missing_and_an_unreadable_one_are_refused(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "p").write_text("short")
    with pytest.raises(SystemExit, match="5 characters: use at least 12"):
        run("new", BACKUP_PASSPHRASE_FILE=str(tmp_path / "p"))
    with pytest.raises(SystemExit, match="Set BACKUP_PASSPHRASE_FILE to a file"):
        run("new")
    with pytest.raises(SystemExit, match="which cannot be read: No such file"):
        run("new", BACKUP_PASSPHRASE_FILE=str(tmp_path / "nothing"))


def test_only_an_encrypted_backup_needs_one(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("known", a_file(tmp_path / "plain", "manifest.json")) == {"passphrase": None}
    with pytest.raises(SystemExit, match="A passphrase is needed"):
        run("known", a_file(tmp_path / "encrypted", "key.age"))
    (tmp_path / "text").write_text("hello")
    for other in (a_file(tmp_path / "other", "readme"), str(tmp_path / "text")):
        with pytest.raises(SystemExit, match="is not a backup of this stack"):
            run("known", other)


@pytest.mark.parametrize("key", [EOFError, KeyboardInterrupt])
def test_leaving_the_prompt_ends_with_a_message(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, key: type[BaseException]
) -> None:
    def leave(prompt: str) -> str:
        raise key

    module = load("docker/verbs/passphrase.py")
    monkeypatch.setattr(module, "has_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", leave)
    with pytest.raises(SystemExit, match="error: No passphrase was given"):
        module.ask("Passphrase: ")
