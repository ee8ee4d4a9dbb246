"""A backup is restored into an empty and into a running stack; a bad one changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.compose import PROJECT, Stack, wait_until
from tests.support.visitor import PASSWORD, Visitor

PASSPHRASE = "a passphrase for this test"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return path


def make(
    stack: Stack, *arguments: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    return stack.run("make", *arguments, check=check, timeout=900, **environment)


def refused(stack: Stack, file: Path, **environment: str) -> str:
    """Return what is said when a file is refused, after checking that nothing has changed."""
    before = stack.compose("ps", "--all", "--quiet"), _volumes(stack)
    done = make(stack, "restore", f"FILE={file}", check=False, **environment)
    assert done.returncode != 0
    assert (stack.compose("ps", "--all", "--quiet"), _volumes(stack)) == before
    return done.stdout + done.stderr


def _volumes(stack: Stack) -> str:
    label = f"label=com.docker.compose.project={stack.project}"
    return stack.run("docker", "volume", "ls", "--quiet", "--filter", label).stdout


def test_a_backup_is_restored_into_an_empty_and_a_running_stack(
    stack: Stack, passphrase: Path, tmp_path: Path
) -> None:
    known = {"BACKUP_PASSPHRASE_FILE": str(passphrase)}
    susan = Visitor(stack.url)
    susan.register("backup.susan")
    susan.log_in("backup.susan")
    susan.send("/", post="Written before the backup")
    stack.compose("stop", "mailhog")
    first = stack.drill("exception", message="before the backup").request_id

    file = tmp_path / "a.age.tar"
    assert str(file) in make(stack, "backup", f"FILE={file}", **known).stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob("a.age.tar*")) == [file]
    content = file.read_bytes()
    key = stack.shell("web", "cat /run/secrets/secret_key")
    for text in (b"backup.susan", first.encode(), b"Microblog", b"CREATE TABLE", key.encode()):
        assert text not in content

    # A damaged file, another passphrase and another app are refused with the reason.
    damaged = tmp_path / "damaged"
    middle = len(content) // 2
    damaged.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert "The file is damaged" in refused(stack, damaged, **known)
    damaged.write_bytes(content[:middle])
    assert "The file is damaged" in refused(stack, damaged, **known)
    wrong = tmp_path / "wrong"
    wrong.write_text("another passphrase")
    said = refused(stack, file, BACKUP_PASSPHRASE_FILE=str(wrong))
    assert "The passphrase is wrong" in said
    assert "A passphrase is needed" in refused(stack, file, BACKUP_PASSPHRASE_FILE="")
    app = tmp_path / "my-app"
    app.mkdir()
    other = Stack(f"{PROJECT}-other", settings={"APP_DIR": str(app), "APP": "flaskr"})
    try:
        said = refused(other, file, **known)
        assert "The backup belongs to Microblog, and this stack runs flaskr in my-app" in said
    finally:
        other.remove()

    # Into an empty stack.
    stack.compose("down", "--volumes", "--remove-orphans")
    make(stack, "restore", f"FILE={file}", **known)
    assert "Written before the backup" in susan.open("/explore").text
    assert "Log out" in susan.open("/").text  # the secret key is restored, so the session is valid
    assert stack.mail_of(first)
    assert stack.shell("web", "cat /run/secrets/secret_key") == key

    # Into a running one: rows are back, and a report that nobody has received is not lost.
    assert stack.shell("db", "psql -U postgres microblog -qAtc 'DELETE FROM post'") == ""
    make(stack, "rotate-secrets")
    stack.compose("stop", "mailhog")
    second = stack.drill("database").request_id
    make(stack, "restore", f"FILE={file}", **known)
    assert "Written before the backup" in susan.open("/explore").text
    assert Visitor(stack.url).send("/login", username="backup.susan", password=PASSWORD)
    assert stack.mail_of(second)
    rows = "SELECT datname FROM pg_database WHERE datname LIKE 'microblog%'"
    assert stack.shell("db", f'psql -U postgres -Atc "{rows}"') == "microblog\n"
    left = "ls -A /run/secrets /var/spool/microblog | grep -E 'restored|before' || true"
    assert stack.shell("web", left) == ""
    wait_until(lambda: stack.health("watch") == "healthy", "the watch")


def test_a_plain_backup_leaves_the_secrets_out_and_says_what_it_shows(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "a.tar"
    done = make(stack, "backup", f"FILE={file}", "PLAIN=1")
    assert "password hashes and personal data" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    names = stack.run("tar", "-tf", str(file)).stdout
    assert "database.dump" in names
    assert "secrets" not in names
    key = stack.shell("web", "cat /run/secrets/secret_key")
    assert key.encode() not in file.read_bytes()
