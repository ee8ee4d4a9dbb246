"""Volumes that were restored by root, or that another version of PostgreSQL has made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.compose import Stack

VOLUMES = ("secrets", "logs", "spool", "instance", "db")
RESTORE = f"""set -e
touch /volumes/instance/upload
for name in {" ".join(VOLUMES)}; do
  cp -r /volumes/$name /tmp/copy
  find /volumes/$name -mindepth 1 -delete
  cp -r /tmp/copy/. /volumes/$name/
  rm -r /tmp/copy
  chown -R 0:0 /volumes/$name
done
find /volumes/spool -type f -exec chmod 400 '{{}}' +
"""


def test_volumes_that_root_has_restored_get_their_owners_back(stack: Stack) -> None:
    stack.compose("stop", "mailhog")
    answer = stack.drill("exception")
    stack.compose("kill", "web")
    stack.compose("stop", "db")
    mounts = [f"--volume={stack.project}_{name}:/volumes/{name}" for name in VOLUMES]
    image = f"{stack.project}-init"
    stack.run("docker", "run", "--rm", "--user", "0:0", *mounts, image, "sh", "-c", RESTORE)

    stack.up("--no-build")
    assert stack.mail_of(answer.request_id)
    stack.execute("web", "flask", "reports", "list")  # exit status 1 for bad owners
    assert f"[request {answer.request_id}]" in stack.log()
    assert stack.get("/explore").status == 200
    owners = stack.shell("web", "stat -c '%u %a' /var/spool/microblog/reports.db")
    assert owners == "10001 600\n"


@pytest.fixture
def newer_postgres(stack: Stack) -> Iterator[str]:
    """An image that differs from the stack's, as if it had a newer PostgreSQL."""
    base = stack.environment.get("POSTGRES_IMAGE", "postgres:17.6-trixie")
    name = f"{stack.project}-newer-postgres"
    command = f"printf 'FROM {base}\\nLABEL newer=1' | docker build --quiet --tag {name} -"
    stack.run("sh", "-c", command)
    yield name
    stack.compose("build", "db")
    stack.up("--no-build")
    stack.run("docker", "image", "rm", "--force", name)


def test_a_volume_of_another_postgresql_is_refused_before_anything_is_replaced(
    stack: Stack, newer_postgres: str
) -> None:
    version = "/var/lib/postgresql/data/PG_VERSION"
    ours = stack.shell("db", f"cat {version}").strip()
    before = stack.compose("ps", "--quiet")
    stack.shell("db", f"echo 12 >{version}")
    try:
        done = stack.make("up", check=False, POSTGRES_IMAGE=newer_postgres)
        assert done.returncode != 0
        assert "was made by PostgreSQL 12." in done.stderr
        assert f"This image has PostgreSQL {ours}, which cannot" in done.stderr
        assert "make backup" in done.stderr
        assert stack.compose("ps", "--quiet") == before
        assert stack.get("/explore").status == 200

        stack.compose("up", "--detach", "db", "--no-deps", check=False)
        assert "was made by PostgreSQL 12." in stack.compose("logs", "db")
    finally:
        stack.run(
            *["docker", "run", "--rm", "--user", "999:999", "--entrypoint", "sh"],
            f"--volume={stack.project}_db:/var/lib/postgresql/data",
            *[f"{stack.project}-db", "-c", f"echo {ours} >{version}"],
        )
