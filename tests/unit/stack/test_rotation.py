"""The steps of a rotation: which secrets are in the volume between the rolls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as `init` has left it for the demo, and an empty folder of the operator."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "operator" / "secrets").mkdir(parents=True)
    for name in ("secret_key", "postgres_password", "migrate_password", "web_password"):
        (volume / name).write_text(f"old-{name}")
    (volume / "secret_key_fallbacks").write_text("older")
    (volume / "mail_password").write_text("mail")
    (volume / ".migrate_login").write_text("microblog_owner\n")
    (volume / ".web_login").write_text("microblog_web\n")
    return volume


@pytest.fixture
def rotation(
    volume: Path, load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    monkeypatch.syspath_prepend(ROOT / "docker")
    monkeypatch.setattr(os, "chown", lambda *args, **kwargs: None)
    module = load("docker/rotation.py")
    for part in (module, module.init):
        monkeypatch.setattr(part, "SECRETS", volume)
        monkeypatch.setattr(part, "OPERATOR", tmp_path / "operator")
    monkeypatch.setattr(module.init, "OWNER", volume / ".belongs_to")
    monkeypatch.setattr(module, "PLAN", volume / ".rotation")
    return module


def read(volume: Path, *names: str) -> list[str]:
    return [(volume / name).read_text().strip() for name in names]


def test_first_the_new_key_is_accepted_and_then_it_signs(rotation: Any, volume: Path) -> None:
    rotation.begin(rotation.init.DEMO)
    key, fallbacks = read(volume, "secret_key", "secret_key_fallbacks")
    assert key == "old-secret_key"
    new, other = fallbacks.split()
    assert (len(new), other) == (64, "older")
    rotation.switch()
    assert read(volume, "secret_key", "secret_key_fallbacks") == [new, "old-secret_key"]
    rotation.PLAN.unlink()
    rotation.begin(rotation.init.DEMO)
    rotation.switch()
    assert read(volume, "secret_key_fallbacks") == [new]


def test_the_two_logins_of_a_role_are_used_in_turn(rotation: Any, volume: Path) -> None:
    for login in ("microblog_web_2", "microblog_web"):
        rotation.begin(rotation.init.DEMO)
        rotation.PLAN.unlink()
        assert read(volume, ".web_login") == [login]
    assert len(read(volume, "web_password")[0]) == 64


def test_a_rotation_that_was_interrupted_goes_on_with_the_same_secrets(
    rotation: Any, volume: Path
) -> None:
    def state() -> list[str]:
        return [path.read_text() for path in sorted(volume.iterdir())]

    rotation.begin(rotation.init.DEMO)
    before = state()
    rotation.begin(rotation.init.DEMO)
    assert state() == before
    rotation.switch()
    before = state()
    rotation.begin(rotation.init.DEMO)
    rotation.switch()
    assert state() == before


def test_an_operators_new_secret_is_used_and_an_unchanged_one_stays(
    rotation: Any, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "operator" / "secrets"
    (own / "secret_key").write_text("n" * 40 + "\n")
    (own / "web_password").write_text("old-web_password")
    rotation.begin(rotation.init.DEMO)
    (secret_key,) = (one for one in rotation.init.DEMO if one.name == "secret_key")
    assert rotation.init.provide(secret_key) is None  # the roll runs init
    assert read(volume, "secret_key") == ["old-secret_key"]
    rotation.switch()
    assert read(volume, "secret_key_fallbacks") == ["old-secret_key"]
    assert read(volume, "secret_key", "web_password", ".web_login", "mail_password") == [
        "n" * 40,
        "old-web_password",
        "microblog_web",
        "mail",
    ]
    assert "secrets/web_password is your own and stays" in capsys.readouterr().out


def test_an_operators_weak_secret_stops_the_rotation(
    rotation: Any, volume: Path, tmp_path: Path
) -> None:
    (tmp_path / "operator" / "secrets" / "secret_key").write_text("weak")
    with pytest.raises(SystemExit, match="has 4 characters"):
        rotation.begin(rotation.init.DEMO)
    assert read(volume, "secret_key_fallbacks", "web_password") == ["older", "old-web_password"]
    assert not rotation.PLAN.exists()


def secret(rotation: Any, name: str) -> Any:
    return next(one for one in rotation.init.DEMO if one.name == name)


def write_own_key(tmp_path: Path, key: str) -> None:
    (tmp_path / "operator" / "secrets" / "secret_key").write_text(f"{key}\n")


def test_a_new_key_of_the_operator_leaves_the_old_one_as_a_fallback(
    rotation: Any, volume: Path, tmp_path: Path
) -> None:
    for new, old in (("n" * 40, "old-secret_key"), ("m" * 40, "n" * 40)):
        write_own_key(tmp_path, new)
        assert rotation.init.provide(secret(rotation, "secret_key")) is None
        assert read(volume, "secret_key", "secret_key_fallbacks") == [new, old]
    write_own_key(tmp_path, "old-secret_key" * 3)
    (volume / "secret_key_fallbacks").unlink()  # as versions before it have left the volume
    assert rotation.init.provide(secret(rotation, "secret_key")) is None
    assert read(volume, "secret_key_fallbacks") == ["m" * 40]


def test_the_operators_new_key_is_accepted_everywhere_before_it_signs(
    rotation: Any, volume: Path, tmp_path: Path
) -> None:
    app = rotation.App("Microblog", "")
    for key in ("n" * 40, "m" * 40):  # the second before the first was complete
        write_own_key(tmp_path, key)
        rotation.adopt(app, rotation.init.DEMO)
        assert rotation.init.provide(secret(rotation, "secret_key")) is None  # the roll runs init
        assert read(volume, "secret_key") == ["old-secret_key"]
        assert read(volume, "secret_key_fallbacks")[0].split()[0] == key
    rotation.switch()
    rotation.adopt(app, rotation.init.DEMO)
    assert read(volume, "secret_key", "secret_key_fallbacks") == ["m" * 40, "old-secret_key"]
    assert read(volume, "web_password", ".web_login") == ["old-web_password", "microblog_web"]
    # What an interruption has left does not keep a later key out.
    write_own_key(tmp_path, "l" * 40)
    assert rotation.init.provide(secret(rotation, "secret_key")) is None
    assert read(volume, "secret_key") == ["l" * 40]


def test_the_operators_new_key_waits_for_an_interrupted_rotation(
    rotation: Any, volume: Path, tmp_path: Path
) -> None:
    app = rotation.App("Microblog", "")
    rotation.begin(rotation.init.DEMO)
    write_own_key(tmp_path, "n" * 40)
    with pytest.raises(SystemExit, match="To complete it: make rotate-secrets"):
        rotation.adopt(app, rotation.init.DEMO)
    rotation.PLAN.unlink()
    write_own_key(tmp_path, "weak")
    with pytest.raises(SystemExit, match="has 4 characters"):
        rotation.adopt(app, rotation.init.DEMO)
    assert read(volume, "secret_key") == ["old-secret_key"]
    with pytest.raises(SystemExit, match="These volumes belong to Microblog"):
        rotation.adopt(rotation.App("flaskr", "my-app"), rotation.init.DEMO)


def test_the_volumes_of_an_app_that_was_renamed_are_kept_by_the_command_in_the_message(
    rotation: Any, volume: Path
) -> None:
    rotation.init.OWNER.write_text("flaskr in my-app\n")
    renamed = rotation.App("flaskr.web", "my app")
    problem = rotation.init.claim(renamed)
    subprocess.run(["sh", "-c", problem.partition("sh -c '")[2].removesuffix("'")], check=True)
    assert rotation.init.claim(renamed) is None
    assert "sh -c" not in rotation.init.claim(rotation.App("Microblog", ""))


@pytest.mark.parametrize(
    ("variables", "marker", "names"),
    [
        ({}, False, {"app_password"}),
        ({"MIGRATE": "flask init-db"}, False, {"app_password", "web_password"}),
        ({}, True, {"app_password", "web_password"}),
        ({"DATABASE_ROLE": "owner"}, True, {"app_password"}),
    ],
)
def test_web_gets_a_role_of_its_own_where_migrations_make_the_tables(
    rotation: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    marker: bool,
    names: set[str],
) -> None:
    for name in ("MIGRATE", "DATABASE_ROLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "has_migrations"
    if marker:
        path.touch()
    monkeypatch.setattr(rotation.init, "MIGRATIONS", path)
    found = rotation.init.wanted_secrets(rotation.App("flaskr", "my-app"))
    assert {secret.name for secret in found if secret.role} == names


def test_couriers_that_agree_get_a_role_of_their_own(
    rotation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = rotation.App("", "")
    monkeypatch.setenv("COURIERS_AGREE", " 1 ")
    agreeing = {secret.role for secret in rotation.init.wanted_secrets(app)}
    monkeypatch.setenv("COURIERS_AGREE", "0")
    others = {secret.role for secret in rotation.init.wanted_secrets(app)}
    assert agreeing - others == {"mayday_courier"}


@pytest.mark.parametrize("step", ["adopt", "begin"])
def test_a_folder_in_place_of_a_secret_is_named_with_the_fix(
    rotation: Any, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "operator" / "secrets" / "secret_key").mkdir()
    monkeypatch.setattr("sys.argv", ["rotation.py", step])
    with pytest.raises(SystemExit, match="SECRET_KEY: secrets/secret_key is a folder: delete it"):
        rotation.main()
    assert read(volume, "secret_key") == ["old-secret_key"]
    assert not rotation.PLAN.exists()
