"""What limits an intruder: privileges, readable secrets, published ports and networks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.compose import Stack, base_images, wait_until

RUNNING = ("nginx", "web", "watch", "db", "mailhog", "mailguard")
ALL = (*RUNNING, "migrate", "init", "roles")
ALLOWED_CAPABILITIES = {"init": {"CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_READ_SEARCH"}}


@pytest.mark.parametrize("service", ALL)
def test_a_container_has_a_read_only_root_and_no_capability_it_does_not_need(
    stack: Stack, service: str
) -> None:
    container: Any = stack.inspect(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    added = {name if name.startswith("CAP_") else f"CAP_{name}" for name in host["CapAdd"] or []}
    assert added == ALLOWED_CAPABILITIES.get(service, set())
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["LogConfig"]["Config"]["max-size"]


@pytest.mark.parametrize("service", RUNNING)
def test_no_process_of_a_running_container_belongs_to_root(stack: Stack, service: str) -> None:
    processes = stack.compose("top", service).splitlines()
    users = {line.split()[0] for line in processes if line[:1].isdigit() or " " in line.strip()}
    assert "root" not in users, processes


def test_neither_config_nor_inspect_shows_a_secret(stack: Stack) -> None:
    volume = f"{stack.project}_secrets"
    command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "sh"]
    command += ["--volume", f"{volume}:/s:ro", f"{stack.project}-web"]
    command += ["-c", "cd /s; for f in *; do cat $f; echo; done"]
    # Repeated until there is output: Docker once showed none of a container that ended at once.
    secrets = wait_until(lambda: stack.run(*command).stdout.split(), "the secrets")
    assert isinstance(secrets, list)
    assert len(secrets) == 4
    assert all(len(secret) == 64 for secret in secrets)
    shown = stack.compose("config") + stack.compose("config", "--format", "json")
    for service in ALL:
        shown += json.dumps(stack.inspect(service))
    for secret in secrets:
        assert secret not in shown


@pytest.mark.parametrize(
    ("service", "readable", "denied"),
    [
        ("web", ["secret_key", "web_password"], ["migrate_password", "postgres_password"]),
        ("watch", [], ["web_password", "migrate_password", "postgres_password"]),
        ("db", ["postgres_password"], ["secret_key"]),
        ("mailguard", [], ["secret_key", "web_password", "mail_password", "mailhog_password"]),
    ],
)
def test_a_service_reads_its_own_secrets_only(
    stack: Stack, service: str, readable: list[str], denied: list[str]
) -> None:
    for name in readable:
        assert stack.shell(service, f"test -s /run/secrets/{name} && echo yes").strip() == "yes"
    for name in denied:
        assert stack.shell(service, f"cat /run/secrets/{name} || true") == ""
    assert stack.shell(service, "echo x 2>&1 >/run/secrets/new || true").count("Read-only") <= 1
    assert "new" not in stack.shell(service, "ls /run/secrets")


def test_only_nginx_and_mailhogs_guard_are_published_and_on_loopback_only(stack: Stack) -> None:
    for service in RUNNING:
        container: Any = stack.inspect(service)
        bindings = container["HostConfig"]["PortBindings"] or {}
        assert bool(bindings) == (service in ("nginx", "mailguard"))
        for binding in bindings.values():
            assert [entry["HostIp"] for entry in binding] == ["127.0.0.1"]


def test_the_role_of_web_can_write_rows_but_not_change_the_schema(stack: Stack) -> None:
    script = (
        "from app import create_app; from app.database import db; from sqlalchemy import text;"
        "app = create_app(); app.app_context().push();"
        "print(db.session.execute(text('SELECT count(*) FROM post')).scalar());"
        "db.session.execute(text('CREATE TABLE intruder (id int)'))"
    )
    done = stack.run("docker", "compose", "exec", "-T", "web", "python", "-c", script, check=False)
    assert done.stdout.splitlines()[0].isdigit()
    assert done.returncode != 0
    assert "permission denied for schema public" in done.stderr


def test_a_wrong_password_does_not_open_the_database(stack: Stack) -> None:
    script = (
        "import psycopg2\n"
        "try:\n    psycopg2.connect('host=db user=microblog_web password=wrong dbname=microblog')\n"
        "except psycopg2.OperationalError as error:\n    print(error)"
    )
    output = stack.execute("web", "python", "-c", script)
    assert "password authentication failed" in output
    assert stack.shell("db", "psql -U postgres -Atc 'SHOW data_checksums'") == "on\n"
    hashes = stack.shell("db", "psql -U postgres -Atc 'SELECT rolpassword FROM pg_authid'")
    assert all(line.startswith("SCRAM-SHA-256$") for line in hashes.split())


@pytest.mark.parametrize(
    ("service", "target"), [("nginx", "db"), ("nginx", "mailhog"), ("db", "nginx")]
)
def test_services_that_need_not_talk_are_in_separate_networks(
    stack: Stack, service: str, target: str
) -> None:
    assert stack.shell(service, f"getent hosts {target} || echo unknown").strip() == "unknown"


def test_the_web_image_is_small_and_has_no_build_tools_and_no_tests(stack: Stack) -> None:
    image: Any = json.loads(stack.run("docker", "image", "inspect", f"{stack.project}-web").stdout)
    assert image[0]["Size"] < 160_000_000
    tools = "gcc cc make git perl pip pip3 apt apt-get dpkg"
    found = stack.shell(
        "web", f"for tool in {tools}; do command -v $tool; done; ls /srv/microblog; true"
    )
    assert found.split() == ["app", "migrations"]
    modules = (
        "import importlib.util as i; print([n for n in ('pip', 'ensurepip') if i.find_spec(n)])"
    )
    assert stack.execute("web", "python3", "-c", modules) == "[]\n"


@pytest.mark.parametrize("service", ["nginx", "db"])
def test_no_package_manager_is_in_an_image_of_ours(stack: Stack, service: str) -> None:
    tools = "apt apt-get dpkg perl"
    found = stack.shell(service, f"for tool in {tools}; do command -v $tool; done; true")
    assert found == ""


@pytest.mark.parametrize(
    ("service", "base"),
    [("web", "PYTHON_IMAGE"), ("init", "PYTHON_IMAGE"), ("nginx", "NGINX_IMAGE")],
)
def test_no_image_holds_settings_of_the_build_machine(
    stack: Stack, service: str, base: str
) -> None:
    def settings(image: str) -> list[str]:
        look = "ls /usr/local/share/ca-certificates /etc/pip.conf /run/secrets 2>/dev/null; true"
        return stack.run(
            "docker", "run", "--rm", "--entrypoint", "sh", image, "-c", look
        ).stdout.split()

    if base not in base_images():
        pytest.skip("the base image is that of a registry")
    assert set(settings(f"{stack.project}-{service}")) <= set(settings(base_images()[base]))
