"""Secrets: made where they are missing, taken from the operator, refused where they are weak."""

from __future__ import annotations

from tests.support.compose import Stack


def test_a_secret_that_cannot_be_used_stops_the_start_with_its_name_and_the_fix(
    other_stack: Stack,
) -> None:
    secrets = other_stack.directory / "secrets"
    (secrets / "secret_key").write_text("too-short-to-be-safe")
    (secrets / "web_password").write_bytes(b"\xff" * 40)
    (secrets / "mail_password").mkdir()
    done = other_stack.make("up", check=False)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "SECRET_KEY: the file secrets/secret_key has 20 characters" in output
    assert "delete the file and one will be generated" in output
    assert "too-short-to-be-safe" not in output
    assert "WEB_PASSWORD: secrets/web_password is not text in UTF-8: delete it" in output
    assert "MAIL_PASSWORD: secrets/mail_password is a folder: delete it" in output
    assert "Traceback" not in output


def test_an_operators_secrets_are_taken_even_if_only_root_may_read_them(
    other_stack: Stack,
) -> None:
    own = {
        name: f"{name}-of-the-operator-{'x' * 32}"
        for name in ("secret_key", "web_password", "migrate_password", "postgres_password")
    }
    for name, value in own.items():
        path = other_stack.directory / "secrets" / name
        path.write_text(value + "\n")
        path.chmod(0o600)
    other_stack.up("--build")
    assert other_stack.get("/").status in (200, 302)
    assert other_stack.shell("web", "cat /run/secrets/secret_key") == own["secret_key"]

    (other_stack.directory / "secrets" / "web_password").write_text("y" * 40)
    done = other_stack.make("up", check=False)
    assert done.returncode != 0
    assert "WEB_PASSWORD: the file secrets/web_password differs from the password" in (
        done.stdout + done.stderr
    )


def test_an_app_without_its_secret_does_not_start_and_says_the_fix(stack: Stack) -> None:
    command = ["docker", "compose", "run", "--rm", "--no-deps", "-T"]
    command += ["-e", "SECRET_KEY_FILE=", "web"]
    done = stack.run(*command, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is not set: set it to a random text of at least 32" in done.stderr
    assert "Traceback" not in done.stderr
