"""The commands of the documentation, run in their order on a real stack."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.docs.test_commands import code_of
from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, ROOT, Stack, base_images, end, wait_until

PAGES = (
    "README.md",
    "docs/operations.md",
    "docs/testing.md",
    "docs/from-smtphandler.md",
    "CONTRIBUTING.md",
    "docs/your-app.md",
)
# The beginnings of commands that do not run here, and why.
NOT_RUN = {
    "make test": "it runs this test",
    "make check": "CI runs it before this test",
    "make dev": "it would make a virtual environment",
    "uvx pre-commit": "it changes the reader's repository",
    "uv pip compile": "it asks for the newest packages",
    ".venv/bin/pytest tests/unit/log\n": "the next command runs a part of it",
    "pip install": "it takes a release; tests/packaging installs the wheel",
    "gunicorn -c": "tests/packaging starts gunicorn with this configuration",
    "git clone": "the test is in a clone",
    "make up APP_DIR=../my-app APP=flaskr": "docs/your-app.md has it with the app of this test",
    "docker/bases/ensure --fresh": "it rebuilds the base images, which takes minutes",
    "docker image inspect": "it shows an official image, which may not be here",
    "make backup FILE=backups/upgrade": "the upgrade needs a newer PostgreSQL image",
    "make clean": "it is a part of that upgrade",
    "echo POSTGRES_IMAGE=": "it is a part of that upgrade",
    "make restore FILE=backups/upgrade": "it is a part of that upgrade",
    "mkdir ../httpbin": "tests/stack/test_httpbin.py runs it",
    "make up APP_DIR=../httpbin": "tests/stack/test_httpbin.py runs it",
}
FOLLOWS = "make logs"  # until Ctrl-C
MY_APP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "mine"


@app.cli.command("init-db")
def init_db():
    print("The database is prepared.")
"""


def commands_of(page: str) -> Iterator[str]:
    """Yield the commands of a page's shell blocks; a block of settings is written to .env."""
    for block in code_of(ROOT / page, "sh"):
        if re.fullmatch(r"(?:[A-Z_]+=.*\n)+", block):
            continue  # lines for .env, with the names of a foreign mail server
        command = ""
        for line in block.splitlines(keepends=True):
            command += line
            if not command.endswith("\\\n") and command.count("'") % 2 == 0:
                yield command
                command = ""


def is_run(command: str) -> bool:
    return not any(command.startswith(beginning) for beginning in NOT_RUN)


@dataclass
class Reader:
    """Somebody who types the commands of the documentation in a fresh clone."""

    stack: Stack
    request_id: str = ""  # of the last drill
    error_group: str = ""  # the first that `flask mayday reports errors` has listed

    def types(self, command: str) -> None:
        """Run a command, which must succeed, with what this reader sees in place of examples."""
        command = command.replace("<id>", self.request_id).replace("1b2cebea", self.error_group)
        for backup in self.stack.directory.glob("backups/*"):
            command = re.sub(r"backups/microblog-\S+", f"backups/{backup.name}", command)
        if command.startswith("flask mayday reports"):
            command = f"docker compose exec web {command}"
        if command.partition("#")[0].strip() == FOLLOWS:
            self.follows(command)
            return
        done = self.stack.run("bash", "-c", f"umask 077\n{command}", timeout=1200)
        if found := re.search(r"request id ([0-9a-f]{32})", done.stdout):
            self.request_id = found[1]
        if "reports purge" in command:
            self.types("make drill\n")  # what follows is about errors after that
        if "flask mayday reports errors" in command:
            self.error_group = re.findall(r"^[0-9a-f]{8}", done.stdout, re.MULTILINE)[0]

    def follows(self, command: str) -> None:
        """Run a command that prints until Ctrl-C."""
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.stack.directory,
            env=self.stack.environment,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as running:
            assert running.stdout is not None
            assert running.stdout.readline()
            os.killpg(running.pid, signal.SIGINT)
            running.stdout.read()
        assert running.returncode in (0, -signal.SIGINT)  # make ends by the signal


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    clone = clone_checkout(folder / "mayday")
    (clone / ".env").write_text("".join(f"{k}={v}\n" for k, v in base_images().items()))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    (folder / "my-app").mkdir()
    (folder / "my-app" / "my_app.py").write_text(MY_APP)
    (folder / "passphrase").write_text("correct horse battery staple")
    settings = {"BACKUP_PASSPHRASE_FILE": str(folder / "passphrase")}
    stack = Stack(f"{PROJECT}-docs", clone, settings)
    stack.remove()
    yield Reader(stack)
    end(stack)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_in_their_order(reader: Reader, page: str) -> None:
    if page == "docs/your-app.md":  # the volumes belong to the demo
        reader.stack.make("clean", "YES=1")
    elif page != PAGES[0] and not reader.stack.containers("web"):  # the first page starts the stack
        reader.stack.make("up")
    for command in filter(is_run, commands_of(page)):
        reader.types(command)
    if page == "docs/your-app.md":
        wait_until(lambda: reader.stack.get("/").text == "mine", "the reader's app")


def test_every_entry_of_not_run_is_still_documented() -> None:
    commands = [command for page in PAGES for command in commands_of(page)]
    unused = [one for one in NOT_RUN if not any(command.startswith(one) for command in commands)]
    assert unused == []
    assert sum(map(is_run, commands)) > 20
