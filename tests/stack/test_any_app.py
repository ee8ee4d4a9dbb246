"""Other Flask apps in the stack, unchanged: two from PyPI, and a small one."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Answer, Stack, end, wait_until

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


@contextmanager
def started(folder: Path, name: str, *arguments: str, **settings: str) -> Iterator[Stack]:
    """Run an app in a fresh clone, as a reader of the README would: `make up APP_DIR=… APP=…`."""
    clone = clone_checkout(folder / "clone")
    stack = Stack(f"{PROJECT}-{name}", clone, settings)
    stack.remove()
    try:
        stack.make("up", *arguments)
        yield stack
    finally:
        end(stack)


def from_pypi(folder: Path, requirements: str) -> Path:
    """Return a folder with nothing but a requirements.txt."""
    app = folder / "app"
    app.mkdir()
    (app / "requirements.txt").write_text(requirements)
    return app


@pytest.fixture(scope="module")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("httpbin")
    app = from_pypi(folder, "httpbin\n")
    with started(folder, "httpbin", f"APP_DIR={app}", "APP=httpbin:app") as stack:
        yield stack


def assert_reported(stack: Stack, answer: Answer, kind: str, own_file: str) -> None:
    """Page, mail and log entry are there under one id, and the app's own code is marked."""
    assert answer.status == 500
    assert answer.request_id in answer.text
    mail = stack.mail_of(answer.request_id)
    assert kind in mail["Subject"]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    place = text.splitlines()[1]
    assert re.search(rf", {own_file}\S*:\d+ in ", place), text
    assert re.search(rf'File "{own_file}\S*", line', text), text
    assert re.search(r"\d+ frames? in (flask|werkzeug)", text), text
    assert f"[request {answer.request_id}]" in stack.log()


FAILING = "/redirect-to?url=/&status_code=x"


def test_an_error_of_httpbin_gives_a_page_a_mail_and_a_log_entry(httpbin: Stack) -> None:
    assert httpbin.get("/get").status == 200
    assert_reported(httpbin, httpbin.get(FAILING), "ValueError", "httpbin/core.py")


def test_two_different_errors_of_httpbin_are_two_mails(httpbin: Stack) -> None:
    answers = [httpbin.get("/drip?duration=x"), httpbin.get("/range/9?chunk_size=x")]
    fingerprints = {httpbin.mail_of(a.request_id)["X-Error-Fingerprint"] for a in answers}
    assert len(fingerprints) == 2


def test_the_commands_work_for_httpbin(httpbin: Stack) -> None:
    printed = httpbin.make("drill").stdout
    for part in ("page", "log", "mail"):
        assert f" s  {part} " in printed
    request_id = httpbin.get(FAILING).request_id
    assert request_id in httpbin.make("logs", f"REQUEST={request_id}").stdout
    assert printed.split("request id ")[1][:32] in httpbin.make("mail").stdout
    httpbin.make("scale", "N=2")
    assert len(httpbin.containers("web")) == 2
    assert httpbin.get("/get").status == 200
    httpbin.make("up")  # the app and the number of containers are in .env
    assert len(httpbin.containers("web")) == 2
    httpbin.make("scale", "N=1")


def test_no_secret_of_httpbin_is_in_the_config_or_in_inspect(httpbin: Stack) -> None:
    script = "import os; print(os.environ['SECRET_KEY'], os.environ['DATABASE_URL'])"
    key, url = httpbin.execute("web", "python", "-c", script).split()
    password = url.partition("://app:")[2].partition("@")[0]
    assert len(key) == len(password) == 64
    shown = httpbin.compose("config")
    for service in ("web", "migrate", "init", "db", "nginx"):
        shown += json.dumps(httpbin.inspect(service))
    assert key not in shown
    assert password not in shown


def test_the_database_belongs_to_the_role_of_the_app(httpbin: Stack) -> None:
    script = (
        "import os, psycopg2; db = psycopg2.connect(os.environ['DATABASE_URL']);"
        "cursor = db.cursor(); cursor.execute('CREATE TABLE mine (id int)');"
        "cursor.execute('SELECT rolsuper FROM pg_roles WHERE rolname = current_user');"
        "print(cursor.fetchone()[0])"
    )
    assert httpbin.execute("web", "python", "-c", script) == "False\n"


def test_an_app_with_migrations_cannot_change_its_tables(httpbin: Stack) -> None:
    assert "web owns the tables" in httpbin.make("up").stdout
    create = (
        "import os, psycopg2; db = psycopg2.connect(os.environ['DATABASE_URL']);"
        "db.cursor().execute('CREATE TABLE IF NOT EXISTS made (id int)'); db.commit()"
    )
    printed = httpbin.make("up", MIGRATE=f'python -c "{create}"').stdout
    assert "web owns the tables" not in printed
    write = (
        "import os, psycopg2; db = psycopg2.connect(os.environ['DATABASE_URL']);"
        "cursor = db.cursor(); cursor.execute('INSERT INTO made VALUES (1) RETURNING id');"
        "print(cursor.fetchone()); cursor.execute('DROP TABLE made')"
    )
    command = ["docker", "compose", "exec", "-T", "web", "python", "-c", write]
    done = httpbin.run(*command, check=False)
    assert done.stdout == "(1,)\n"
    assert "must be owner of table made" in done.stderr
    assert "web owns the tables" in httpbin.make("up").stdout


def test_forwarding_headers_of_a_client_are_cleared(httpbin: Stack) -> None:
    forged = {
        "Forwarded": "for=6.6.6.6;host=evil.example",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "666",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Proto": "evil",
        "X-Forwarded-Scheme": "evil",
        "X-Real-IP": "6.6.6.6",
        "X-Request-ID": "6" * 32,
        "X-Script-Name": "/evil",
    }
    answer = httpbin.get("/headers?show_env=1", headers=forged)
    assert "6.6.6.6" not in answer.text
    assert "evil" not in answer.text
    assert "666" not in answer.text.replace(answer.request_id, "")
    assert json.loads(answer.text)["headers"]["X-Forwarded-Proto"] == "http"


def test_nginx_adds_no_header_but_the_request_id(httpbin: Stack) -> None:
    names = {name.lower() for name, _ in httpbin.get("/get").headers}
    assert "x-request-id" in names
    assert not {"content-security-policy", "cross-origin-opener-policy"} & names


def test_the_volumes_of_one_app_are_not_given_to_another(httpbin: Stack, tmp_path: Path) -> None:
    other = from_pypi(tmp_path, "flask\n")
    before = httpbin.containers("web"), (httpbin.directory / ".env").read_text()
    done = httpbin.make("up", f"APP_DIR={other}", "APP=other:app", check=False)
    assert done.returncode != 0
    assert re.search(
        r"These volumes belong to httpbin.*: to run both apps, set COMPOSE_PROJECT_NAME",
        done.stderr,
    )
    assert (httpbin.containers("web"), (httpbin.directory / ".env").read_text()) == before


@pytest.fixture(scope="module")
def ihatemoney(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("ihatemoney")
    app = from_pypi(folder, "ihatemoney>=7,<8\n")
    arguments = [f"APP_DIR={app}", "APP=ihatemoney.wsgi:application"]
    with started(folder, "ihatemoney", *arguments, "INSTANCE_PATH=/etc/ihatemoney") as stack:
        yield stack


def test_ihatemoney_serves_and_its_drills_are_reported(ihatemoney: Stack) -> None:
    assert ihatemoney.get("/healthcheck").status == 200
    printed = ihatemoney.make("drill").stdout
    for part in ("page", "log", "mail"):
        assert f" s  {part} " in printed


def test_two_errors_of_ihatemoney_are_two_mails_with_its_frames(ihatemoney: Stack) -> None:
    """Two of its views fail where the tables they read are gone."""
    for name in ("project", "person"):
        ihatemoney.shell("web", f"python - <<'E'\n{DROP.format(name=name)}\nE")
    answers = [ihatemoney.get("/demo"), ihatemoney.get("/x/")]
    for answer in answers:
        assert_reported(ihatemoney, answer, "OperationalError", "ihatemoney/")
    fingerprints = {ihatemoney.mail_of(a.request_id)["X-Error-Fingerprint"] for a in answers}
    assert len(fingerprints) == 2


DROP = """
import sqlite3
sqlite3.connect("/tmp/ihatemoney.db").execute("DROP TABLE {name}")
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
