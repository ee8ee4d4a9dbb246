"""The settings that `make up` checks before it changes anything."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.settings import ConfigurationError, read_settings


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
        *settings.model_problems(values),
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
        ("HTTP_BIND", "[127.0.0.1]"),
        ("HTTP_BIND", "127.0.0.1 "),
        ("REQUEST_TIMEOUT", "30 "),
        ("REQUEST_TIMEOUT", "30s"),
        ("REQUEST_TIMEOUT", "'30'"),
        ("WEB_THREADS", "0"),
        ("WEB_CONCURRENCY", "2.5"),
        ("LOG_MAX_BYTES", "1m"),
        ("LOG_LEVEL", "loud"),
        ("MAIL_USE_TLS", "maybe"),
        ("WEB_REPLICAS", "2 "),
        ("WEB_REPLICAS", "0"),
        ("MAX_BODY", "1MiB; return 200"),
        ("MAX_BODY", "9999999999g"),
        ("DATABASE", "mysql"),
        ("STATIC", "apache"),
        ("TRUSTED_PROXIES", "0"),
        ("TRUSTED_PROXIES", "two"),
        ("PROXY_FROM", "proxy.example"),
        ("PROXY_FROM", "10.0.0.1/8"),
        ("IPV6_SUBNET", "10.0.0.0/8"),
        ("IPV6_SUBNET", "fd6d:6963:726f:1::"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_setting(
    settings: Any, name: str, value: str
) -> None:
    assert f"{name} is '{value}'" in problems(settings, **{name: value})


def test_two_proxies_need_the_addresses_of_the_outer_one_off_loopback(settings: Any) -> None:
    two = {"TRUSTED_PROXIES": "2"}
    assert problems(settings, **two) == ""
    assert problems(settings, **two, HTTP_BIND="[::1]") == ""
    two["DRILL"] = "0"
    assert "PROXY_FROM is not set" in problems(settings, **two, HTTP_BIND="0.0.0.0")
    ranges = "192.0.2.7, 10.0.0.0/24,2001:db8::/32"
    assert problems(settings, **two, HTTP_BIND="0.0.0.0", PROXY_FROM=ranges) == ""
    assert "Set TRUSTED_PROXIES=2" in problems(settings, PROXY_FROM=ranges)


def test_an_app_needs_a_folder_and_a_name(settings: Any, tmp_path: Path) -> None:
    assert "APP_DIR is not set" in problems(settings, APP="flaskr")
    assert "no such folder" in problems(settings, APP="x", APP_DIR=str(tmp_path / "none"))
    package = tmp_path / "flaskr"
    package.mkdir()
    (package / "__init__.py").touch()
    assert "APP=flaskr, for example" in problems(settings, APP_DIR=str(tmp_path))
    flaskr = {"APP_DIR": str(tmp_path), "APP": "flaskr"}
    assert problems(settings, **flaskr, DATABASE="none") == ""
    assert "INSTANCE_PATH is 'data': use an" in problems(settings, **flaskr, INSTANCE_PATH="data")


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
    files += [settings.ROOT / f"compose.{name}.yaml" for name in ("debug", "metrics")]
    text = "".join(path.read_text() for path in files)
    scripts = "".join(
        path.read_text() for path in (settings.ROOT / "deploy/swarm").glob("*") if path.is_file()
    )
    unread = {
        name
        for name in settings.read_defaults()
        if f"${{{name}" not in text and f"setting_of {name} " not in scripts
    }
    assert unread == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [("SWARM", "yes"), ("SWARM_ADDR", "eth0"), ("REGISTRY", "https://registry.example")],
)
def test_the_settings_of_a_swarm_are_checked(settings: Any, name: str, value: str) -> None:
    values = settings.read_defaults()
    assert settings.swarm_settings.problems(values) == []
    (problem,) = settings.swarm_settings.problems({**values, name: value})
    assert f"{name} is '{value}'" in problem


@pytest.mark.parametrize("value", ["127.0.0.2", "[::1]"])
def test_a_loopback_address_can_have_drills(settings: Any, value: str) -> None:
    assert problems(settings, HTTP_BIND=value) == ""


@pytest.mark.parametrize("value", ["::1", "::", "[fe80::1%eth0]"])
def test_an_address_that_compose_cannot_read_is_refused_with_the_fix(
    settings: Any, value: str
) -> None:
    assert "HTTP_BIND=[::1] with brackets" in problems(settings, HTTP_BIND=value, DRILL="0")


@pytest.mark.parametrize("value", ["0.0.0.0", "[::]", "192.168.1.2"])
def test_an_address_that_others_can_reach_needs_drills_to_be_off(settings: Any, value: str) -> None:
    assert "DRILL is 'Yes '" in problems(settings, HTTP_BIND=value, DRILL="Yes ")
    assert problems(settings, HTTP_BIND=value, DRILL="OFF") == ""


NUMBERS = ("0", "1", "10", "129", "257", "3601", "65536", "1048576", "99999999999999")
WORDS = ("true ", "TRUE", "no", "2", "json", " Json", "Info\t", "error", "'1'", "x")


def is_refused(name: str, value: str) -> bool:
    """Return whether the extension refuses a setting's value."""
    try:
        read_settings({}, environ={name: value})
    except ConfigurationError as error:
        return any(problem.startswith(f"{name} is") for problem in error.problems)
    return False


def test_the_check_takes_what_the_extension_takes(settings: Any) -> None:
    wrong = []
    for name in (*settings.NUMBERS, *settings.BOOLEANS, *settings.CHOICES):
        if name in ("FLASK_DEBUG", "LOGIN_LIMITS"):  # the demo's
            continue
        for value in (*NUMBERS, *(f"\t{number} \r" for number in NUMBERS), "030", *WORDS, "-1"):
            if is_refused(name, value) != (f"{name} is" in problems(settings, **{name: value})):
                wrong.append((name, value))
    assert wrong == []


def test_a_comment_in_another_encoding_does_not_stop_the_check(settings: Any) -> None:
    settings.ENV.write_bytes("# für uns\nAGREEMENT_PASSWORD=x\n".encode("latin-1"))
    [warning] = settings.unknown_names(settings.read_defaults())
    assert warning.startswith("AGREEMENT_PASSWORD in .env is ignored. Secrets go in files")


@pytest.mark.parametrize("app", [{}, {"APP_DIR": ".", "APP": "flaskr"}])
@pytest.mark.parametrize("agreement", [{}, {"COURIERS_AGREE": "1"}])
def test_drills_are_off_in_every_process_of_a_site_on_the_internet(
    settings: Any, app: dict[str, str], agreement: dict[str, str]
) -> None:
    values = {"DOMAIN": "blog.example.org", "HTTP_BIND": "192.0.2.1", **app, **agreement}
    environ = {**os.environ, "COMPOSE_PROJECT_NAME": "m", **values}
    command = ["docker", "compose", "--env-file", "/dev/null", "config", "--format", "json"]
    done = subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, check=True)
    services = json.loads(done.stdout)["services"]
    for name in ("web", "migrate", "watch"):
        environ = services[name]["environment"]
        values = {
            key: environ[key] for key in ("MAYDAY_DRILL", "MAYDAY_HTTP_BIND") if key in environ
        }
        assert not read_settings({}, environ=values).drill, name
