"""A small app in the stack, without requirements and without a database."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose import Stack, wait_until
from tests.support.other_apps import started

SMALL_APP = """
import os, sqlite3, time
from flask import Flask, Response, current_app

app = Flask(__name__)

@app.get("/")
def index():
    path = os.path.join(current_app.instance_path, "visits.sqlite")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE IF NOT EXISTS visits (id INTEGER PRIMARY KEY)")
        database.execute("INSERT INTO visits DEFAULT VALUES")
        count, = database.execute("SELECT count(*) FROM visits").fetchone()
    return f"visit {count} of version 1"

@app.get("/variables")
def variables():
    return {name: name in os.environ for name in ("DATABASE_URL", "SECRET_KEY", "FROM_APP_ENV")}

@app.get("/stream")
def stream():
    def parts():
        yield "first\\n"
        time.sleep(8)
        yield "last\\n"
    return Response(parts(), headers={"X-Accel-Buffering": "no"})
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Path]]:
    folder = tmp_path_factory.mktemp("small")
    app = folder / "my-app"
    (app / "static").mkdir(parents=True)
    (app / "app.py").write_text(SMALL_APP)
    (app / "static" / "style.css").write_text("body {}")
    (app / ".env").write_text("SECRET=1")
    arguments = [f"APP_DIR={app}", "APP=app", "DATABASE=none"]
    with started(folder, "small", *arguments) as stack:
        yield stack, app


def test_an_app_without_requirements_or_database_runs(small: tuple[Stack, Path]) -> None:
    stack, _ = small
    assert stack.get("/").text == "visit 1 of version 1"
    found = json.loads(stack.get("/variables").text)
    assert found == {"DATABASE_URL": False, "SECRET_KEY": True, "FROM_APP_ENV": False}
    assert stack.containers("db") == []
    assert stack.shell("web", "ls -A /srv/app").split() == ["app.py", "instance", "static"]


def test_make_up_takes_new_code_and_keeps_the_instance_folder(
    small: tuple[Stack, Path],
) -> None:
    stack, app = small
    visits = int(stack.get("/").text.split()[1])
    (app / "app.py").write_text(SMALL_APP.replace("version 1", "version 2"))
    env = stack.directory / "app.env"
    env.write_text("FROM_APP_ENV=x\n")
    env.chmod(0o600)
    stack.make("up")
    assert re.fullmatch(r"visit \d+ of version 2", stack.get("/").text)
    assert int(stack.get("/").text.split()[1]) > visits
    assert json.loads(stack.get("/variables").text)["FROM_APP_ENV"]
    before = stack.containers("web")
    env.write_text("OTHER=x\n")
    stack.make("up")
    assert stack.containers("web") != before
    assert not json.loads(stack.get("/variables").text)["FROM_APP_ENV"]


def test_nginx_passes_on_each_part_of_a_stream_at_once(small: tuple[Stack, Path]) -> None:
    stack, _ = small
    with socket.create_connection(("127.0.0.1", stack.http_port), timeout=60) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while b"first" not in received:
            received += connection.recv(4096)
    assert b"last" not in received


def test_with_static_nginx_nginx_serves_the_static_files(small: tuple[Stack, Path]) -> None:
    stack, _ = small
    assert stack.get("/static/style.css").header("Server") == "nginx"
    served = lambda: stack.compose("logs", "--no-log-prefix", "nginx").count("upstream - ")  # noqa: E731
    before = served()
    assert stack.get("/static/style.css").text == "body {}"
    assert served() == before
    stack.make("up", "STATIC=nginx")
    assert stack.get("/static/style.css").text == "body {}"
    wait_until(lambda: served() > 0, "an access line without upstream")
    assert stack.get("/static/nothing").status == 404


def test_a_migration_that_fails_says_why_and_keeps_the_old_containers(
    small: tuple[Stack, Path],
) -> None:
    stack, _ = small
    before = stack.containers("web")
    done = stack.make("up", "MIGRATE=echo the table is locked; exit 3", check=False)
    assert done.returncode != 0
    assert "the table is locked" in done.stderr
    assert "failed with exit status 3" in done.stderr
    assert stack.containers("web") == before
    wait_until(
        lambda: [mail for mail in stack.mails() if "exit status 3" in (mail["Subject"] or "")],
        "the mail about the migration",
    )


def test_conflicting_requirements_stop_the_build_and_are_both_shown(
    small: tuple[Stack, Path],
) -> None:
    stack, app = small
    before = stack.containers("web")
    (app / "requirements.txt").write_text("flask\ngunicorn==20.1.0\n")
    try:
        done = stack.make("up", check=False)
    finally:
        (app / "requirements.txt").unlink()
    assert done.returncode != 0
    assert "requirements.txt, line 2: gunicorn==20.1.0" in done.stderr
    assert "flask-mayday: gunicorn<28,>=27" in done.stderr
    assert stack.containers("web") == before


def test_make_runs_no_command_in_the_value_of_a_variable(
    small: tuple[Stack, Path], tmp_path: Path
) -> None:
    stack, _ = small
    proof = tmp_path / "proof"
    for text in (f"$(shell touch {proof})", f"`touch {proof}`", f"x'; touch {proof}; '"):
        done = stack.make("logs", f"REQUEST={text}", check=False)
        assert "which is not a request id" in done.stderr
    done = stack.make("logs", f"REQUEST=x\ntouch {proof}", check=False)
    assert not proof.exists()


def test_following_the_log_ends_quietly_on_an_interrupt(small: tuple[Stack, Path]) -> None:
    stack, _ = small
    process = subprocess.Popen(
        ["make", "logs"],
        cwd=stack.directory,
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 120)[0]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=60)
    assert stderr == b""
