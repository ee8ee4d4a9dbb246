"""The default folders of log and spool, where the instance folder cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_mayday.folders import is_writable, writable_base
from flask_mayday.settings import read_settings


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """Return an instance folder that cannot be made: there is a file in its place."""
    path = tmp_path / "instance"
    path.touch()
    return path


def test_a_folder_that_can_be_made_is_writable_and_is_not_made(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_a_folder_below_a_file_or_on_a_read_only_file_system_is_not_writable(
    instance: Path,
) -> None:
    assert not is_writable(instance)
    assert not is_writable(instance / "logs")
    assert not is_writable(Path("/proc/sys/logs"))


def test_the_instance_folder_is_used_without_a_warning_if_it_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings(import_name="shop", instance_path=tmp_path, environ={})
    assert settings.log.folder == tmp_path / "logs"
    assert caplog.records == []


def test_the_state_folder_replaces_an_instance_folder_that_cannot_be_written(
    instance: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    settings = read_settings(
        import_name="shop", instance_path=instance, environ={"XDG_STATE_HOME": str(state)}
    )
    assert settings.log.folder == state / "shop" / "logs"
    assert settings.spool.folder == state / "shop" / "spool"
    assert not state.exists()
    (record,) = caplog.records
    assert record.getMessage() == f"{instance} cannot be written: using {state / 'shop'}"


def test_the_state_folder_is_in_the_home_folder_by_default(
    instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert writable_base(instance, "logs", "shop", {}) == tmp_path / ".local" / "state" / "shop"


def test_a_folder_from_the_settings_is_never_replaced(instance: Path, tmp_path: Path) -> None:
    environ = {"LOG_DIR": "logs", "SPOOL_DIR": "spool", "XDG_STATE_HOME": str(tmp_path / "state")}
    settings = read_settings(import_name="shop", instance_path=instance, environ=environ)
    assert settings.log.folder == instance / "logs"
    assert settings.spool.folder == instance / "spool"


def test_without_any_folder_to_write_the_instance_folder_stays(
    instance: Path,
) -> None:
    environ = {"XDG_STATE_HOME": str(instance)}
    assert writable_base(instance, "logs", "shop", environ) == instance
