"""The settings that `make up` checks before it changes anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def settings(load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load("docker/verbs/settings.py")
    monkeypatch.setattr(module, "ENV", tmp_path / ".env")
    monkeypatch.setattr(module, "APP_ENV", tmp_path / "app.env")
    return module


def problems(settings: Any, **changes: str) -> str:
    values = {**settings.read_defaults(), **changes}
    found = [
        *settings.address_problems(values),
        *settings.value_problems(values),
        *settings.app_problems(values),
    ]
    return "\n".join(found)


def test_the_defaults_are_valid(settings: Any) -> None:
    assert problems(settings) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "abc"),
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "99999"),
        ("MAILHOG_PORT", "-1"),
        ("HTTP_BIND", "foo"),
        ("REQUEST_TIMEOUT", "30 "),
        ("WEB_REPLICAS", "0"),
        ("MAX_BODY", "1MiB; return 200"),
        ("DATABASE", "mysql"),
        ("STATIC", "apache"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_setting(
    settings: Any, name: str, value: str
) -> None:
    assert f"{name} is '{value}'" in problems(settings, **{name: value})


def test_an_app_needs_a_folder_and_a_name(settings: Any, tmp_path: Path) -> None:
    assert "APP_DIR is not set" in problems(settings, APP="flaskr")
    assert "no such folder" in problems(settings, APP="x", APP_DIR=str(tmp_path / "none"))
    package = tmp_path / "flaskr"
    package.mkdir()
    (package / "__init__.py").touch()
    assert "APP=flaskr, for example" in problems(settings, APP_DIR=str(tmp_path))
    assert problems(settings, APP_DIR=str(tmp_path), APP="flaskr", DATABASE="none") == ""


def test_a_name_that_is_no_setting_is_warned_of_with_the_nearest_one(settings: Any) -> None:
    settings.ENV.write_text("ADMIN=me@example.com\nHTTP_PORT=80\nCOMPOSE_PROFILES=x\nFOO=1\n")
    assert settings.unknown_names(settings.read_defaults()) == [
        "ADMIN in .env is not a setting. Did you mean ADMINS?",
        "FOO in .env is not a setting. Your app's own variables go in app.env.",
    ]


def test_a_secret_in_the_env_file_is_warned_of(settings: Any) -> None:
    settings.ENV.write_text("SECRET_KEY=hunter2hunter2\n")
    [warning] = settings.unknown_names(settings.read_defaults())
    assert "SECRET_KEY in .env is ignored" in warning
    assert "hunter2" not in warning


def test_an_app_env_that_others_can_read_is_warned_of(settings: Any) -> None:
    settings.APP_ENV.write_text("A=b\n")
    settings.APP_ENV.chmod(0o644)
    assert "chmod 600 app.env" in settings.readable_by_others()[0]
    settings.APP_ENV.chmod(0o600)
    assert settings.readable_by_others() == []


def test_every_setting_of_the_example_is_read_by_compose_or_a_command(settings: Any) -> None:
    files = [settings.ROOT / "compose.yaml", settings.ROOT / "docker" / "variants.yaml"]
    files += [settings.ROOT / "compose.debug.yaml"]
    text = "".join(path.read_text() for path in files)
    unread = {name for name in settings.read_defaults() if f"${{{name}" not in text}
    assert unread == set()
