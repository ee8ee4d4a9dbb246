"""httpbin from PyPI in the stack, unchanged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose import Stack
from tests.support.other_apps import assert_reported, from_pypi, started


@pytest.fixture(scope="module")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("httpbin")
    app = from_pypi(folder, "httpbin\n")
    with started(folder, "httpbin", f"APP_DIR={app}", "APP=httpbin:app") as stack:
        yield stack


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
    again = httpbin.make("up").stdout  # the app and the number of containers are in .env
    assert "web owns the tables" in again
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
