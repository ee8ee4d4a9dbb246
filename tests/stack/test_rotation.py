"""The secrets are rotated under load: no request fails, nobody is logged out."""

from __future__ import annotations

from tests.support.compose import Stack, request
from tests.support.steady_load import RATE, steady_load
from tests.support.visitor import Visitor

CONNECT = """
import psycopg2, sys
user, password, name = sys.argv[1:]
try:
    psycopg2.connect(host="db", user=user, password=password, dbname=name).close()
    print("connected")
except psycopg2.OperationalError as error:
    print(error)
"""


def test_a_rotation_under_load_fails_no_request_and_logs_nobody_out(stack: Stack) -> None:
    susan, john = Visitor(stack.url), Visitor(stack.url)
    for visitor, name in ((susan, "rotated.susan"), (john, "rotated.john")):
        visitor.register(name)
        assert "Log out" in visitor.log_in(name).text
    cookie, token = john.cookie, john.token("/")
    old_key = stack.shell("web", "cat /run/secrets/secret_key")
    old_login = stack.shell("web", "cat /run/secrets/.web_login").strip()
    old_password = stack.shell("web", "cat /run/secrets/web_password")
    before = stack.containers("web")

    def profile() -> int:  # a redirect to the login page would be a 302
        return request(f"{stack.url}/edit_profile", headers={"Cookie": cookie}, timeout=30).status

    def post() -> int:
        return susan.send("/", post="Written while the secrets change").status

    with steady_load(*[profile] * 9, post) as outcomes:
        printed = stack.run("make", "rotate-secrets", timeout=900).stdout
    assert set(outcomes) == {200}, outcomes
    assert sum(outcomes.values()) > 2 * RATE
    written = "SELECT count(*) FROM post WHERE body = 'Written while the secrets change'"
    posts = int(stack.shell("db", f'psql -U postgres microblog -Atc "{written}"'))
    assert posts >= sum(outcomes.values()) // 10
    assert printed.count("Draining the old web containers") == 4  # each roll says it twice
    assert set(stack.containers("web")).isdisjoint(before)

    # A form that was open all the time can be sent, and the old session is signed again.
    assert "Written before" in john.open("/", csrf_token=token, post="Written before").text
    key, fallbacks = (
        stack.shell("web", f"cat /run/secrets/{name}")
        for name in ("secret_key", "secret_key_fallbacks")
    )
    assert key != old_key == fallbacks
    for name in (old_key, old_password):
        assert name not in stack.compose("config") + printed
    login = stack.shell("web", "cat /run/secrets/.web_login").strip()
    assert {login, old_login} == {"microblog_web", "microblog_web_2"}
    refused = stack.execute("web", "python", "-c", CONNECT, old_login, old_password, "microblog")
    assert "password authentication failed" in refused

    # A key that the operator writes to secrets/ is taken by `make up` in the same way.
    cookie = john.cookie  # the one from before was signed with a key that is dropped now
    own = stack.directory / "secrets" / "secret_key"
    own.write_text(f"{'of-the-operator-' * 4}\n")
    try:
        with steady_load(profile) as outcomes:
            printed = stack.run("make", "up", timeout=900).stdout
        assert set(outcomes) == {200}, outcomes
        assert "There is a new secret key in secrets/" in printed
        assert stack.shell("web", "cat /run/secrets/secret_key") == "of-the-operator-" * 4
        assert stack.shell("web", "cat /run/secrets/secret_key_fallbacks") == key
        assert "Log out" in john.open("/").text
        assert "secret key" not in stack.make("up").stdout
    finally:
        own.unlink()


def test_the_login_of_web_is_limited_to_its_rows(stack: Stack) -> None:
    script = """
from app import create_app
from app.database import db
from sqlalchemy import text
create_app().app_context().push()
for statement in (
    "SELECT version_num FROM alembic_version",
    "UPDATE alembic_version SET version_num = 'x'",
    "INSERT INTO alembic_version VALUES ('x')",
    "CREATE TEMPORARY TABLE much (line text)",
    "CREATE TABLE intruder (id int)",
    "SHOW temp_file_limit",
):
    try:
        print(db.session.execute(text(statement)).scalar())
    except Exception as error:
        db.session.rollback()
        print(str(error.orig).splitlines()[0])
"""
    found = stack.execute("web", "python", "-c", script).splitlines()
    assert found[1:] == [
        "permission denied for table alembic_version",
        "permission denied for table alembic_version",
        'permission denied to create temporary tables in database "microblog"',
        "permission denied for schema public",
        "256MB",
    ]
    login = stack.shell("web", "cat /run/secrets/.web_login").strip()
    password = stack.shell("web", "cat /run/secrets/web_password")
    for database in ("postgres", "template1"):
        refused = stack.execute("web", "python", "-c", CONNECT, login, password, database)
        assert f'permission denied for database "{database}"' in refused
    limit = stack.shell(
        "db", f"psql -U postgres -Atc \"SELECT rolconnlimit FROM pg_roles WHERE rolname='{login}'\""
    )
    # Two generations of two processes with a pool of 4 + 1, and five others.
    assert int(limit) == 2 * 2 * 5 + 5
