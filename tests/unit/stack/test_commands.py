"""Functions of the shell commands, without an engine: the tests replace what asks Docker."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose import wait_until

ROOT = Path(__file__).resolve().parents[3]
SETTING_OF = "setting_of() { printf '%s\\n' \"${!1:-$2}\"; }\n"


def call(script: str, code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code after the definitions of a command, whose last line runs it."""
    return subprocess.run(
        ["bash", "-c", f'. <(sed "\\$d" "$0")\n{SETTING_OF}{code}', str(ROOT / script)],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NO_COLOR": "1", **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("port", "settings", "named"),
    [
        ("5000", {"HTTP_PORT": "5000"}, "HTTP_PORT"),
        ("9090", {"HTTP_PORT": "9090"}, "HTTP_PORT"),
        ("8443", {"HTTP_PORT": "8443"}, "HTTP_PORT"),
        ("80", {"DOMAIN": "blog.example.org"}, "HTTP_PORT"),
        ("443", {"DOMAIN": "blog.example.org"}, "HTTPS_PORT"),
        ("8025", {}, "MAILHOG_PORT"),
        ("9090", {}, "PROMETHEUS_PORT"),
    ],
)
def test_a_taken_port_names_the_setting_that_uses_it(
    tmp_path: Path, port: str, settings: dict[str, str], named: str
) -> None:
    log = tmp_path / "log"
    log.write_text(f"Error: Bind for 127.0.0.1:{port} failed: port is already allocated\n")
    done = call("docker/verbs/up", f"_explain_port {log}", **settings)
    assert f"Port {port} is taken by another program." in done.stderr
    assert f"write {named}=<port> into .env" in done.stderr


def test_a_folder_as_the_file_of_a_backup_is_refused(tmp_path: Path) -> None:
    stubs = "project_name() { echo blog; }; one_at_a_time() { :; }; has_service() { return 1; }\n"
    stubs += "has_volumes() { return 1; }\n"
    done = call("docker/verbs/backup", f"{stubs}main", FILE=f"{tmp_path}/")
    assert f"FILE is {tmp_path}/, which is a folder." in done.stderr
    assert f"FILE={tmp_path}/blog.age.tar" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backup_on_a_node_without_the_database_names_the_node_to_use() -> None:
    stubs = "project_name() { echo blog; }; one_at_a_time() { :; }; has_service() { true; }\n"
    stubs += "on_swarm() { true; }; docker() { :; }\n"
    done = call("docker/verbs/backup", f"{stubs}main")
    assert done.returncode == 1
    assert "Run this on the node that has it: make ps" in done.stderr
    assert "make up" not in done.stderr


def test_a_restore_that_was_killed_is_undone_by_the_next_one_without_a_database_too() -> None:
    stubs = "has_service() { return 1; }; run_once() { :; }; docker() { :; }\n"
    stubs += 'step() { shift; "$@"; }; unpack_files() { echo unpack; }\n'
    swapped = 'files() { echo "$1"; [[ $1 != is-swapped ]] || return 0; }\n'
    done = call("docker/verbs/restore", f"{stubs}{swapped}prepare")
    assert done.stdout.split() == ["is-swapped", "put-back", "unpack"]
    not_swapped = 'files() { echo "$1"; [[ $1 != is-swapped ]]; }\n'
    done = call("docker/verbs/restore", f"{stubs}{not_swapped}prepare")
    assert done.stdout.split() == ["is-swapped", "unpack"]


@pytest.mark.parametrize("starts", [True, False])
def test_a_restore_that_is_undone_says_whether_the_stack_runs(starts: bool) -> None:
    stubs = "manifest=/dev/null; rm() { :; }; put_back() { :; }; has_service() { return 1; }\n"
    stubs += f"start_watch() {{ :; }}; start_stack() {{ {str(starts).lower()}; }}\n"
    done = call("docker/verbs/restore", f"{stubs}undo")
    assert done.returncode == 1
    assert ("The stack runs with the data from before." in done.stderr) == starts
    assert ("does not start with the data from before either" in done.stderr) != starts


def test_a_restore_that_is_undone_removes_the_app_env_that_it_has_written(tmp_path: Path) -> None:
    stubs = f"cd {tmp_path}; manifest=none; docker() {{ echo A=b; }}; put_back() {{ :; }}\n"
    stubs += "has_service() { return 1; }; start_watch() { :; }\n"
    stubs += "start_stack() { [[ ! -e app.env ]]; }\n"
    done = call("docker/verbs/restore", f"{stubs}write_app_env; cat app.env; undo")
    assert "A=b\n" in done.stdout
    assert "The stack runs with the data from before." in done.stderr
    (tmp_path / "app.env").write_text("MINE=1\n")
    call("docker/verbs/restore", f"{stubs}undo")
    assert (tmp_path / "app.env").exists()


@pytest.mark.parametrize(
    ("settings", "site"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"HTTP_PORT": "81"}, "http://127.0.0.1:81"),
        ({"TLS": "self-signed"}, "https://127.0.0.1:8443"),
        ({"DOMAIN": "blog.example.org"}, "https://blog.example.org"),
        ({"DOMAIN": "blog.example.org", "HTTPS_PORT": "444"}, "https://blog.example.org:444"),
    ],
)
def test_the_address_of_a_site_on_a_swarm_follows_from_its_settings(
    settings: dict[str, str], site: str
) -> None:
    stubs = "project=blog; drills=0; app_name() { echo Blog; }; has_service() { return 1; }\n"
    done = call(
        "deploy/swarm/up", f"{stubs}swarm_addresses; require_consent_to_open_port", **settings
    )
    assert f"  Blog        {site}\n" in done.stdout
    assert ("a swarm cannot publish a port on one address" in done.stderr) == (
        "DOMAIN" not in settings
    )


def run(
    tmp_path: Path, script: str, docker: str, arguments: tuple[str, ...] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command with another program in the place of Docker's client."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "YES": "", "REQUEST": ""}
    return subprocess.run(
        [ROOT / script, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def test_a_python_that_is_too_old_is_named_with_the_version_to_install(tmp_path: Path) -> None:
    program = tmp_path / "python3"
    program.write_text("#!/bin/sh\n[ $1 != --version ] || exec echo Python 3.9.2\nexit 1\n")
    program.chmod(0o755)
    done = run(tmp_path, "docker/engine/prerequisites", "")
    assert done.returncode == 1
    assert "Python 3.9.2 is too old." in done.stderr
    assert "Install Python 3.10 or later" in done.stderr
    assert "problem Python 3.9.2 is too old" in run(tmp_path, "docker/verbs/doctor", "").stdout


def test_without_a_stack_the_log_is_missing_and_no_image_is_built(tmp_path: Path) -> None:
    docker = 'case "$1 $2" in "volume inspect") exit 1 ;; "compose run") echo built ;; esac'
    done = run(tmp_path, "docker/verbs/logs", docker)
    assert done.returncode == 1
    assert "There is no log yet." in done.stderr
    assert "built" not in done.stdout


@pytest.mark.parametrize("script", ["drill.py", "mail.py", "settings.py", "capacity.py"])
def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path: Path, script: str) -> None:
    program, asked = tmp_path / "docker", tmp_path / "asked"
    program.write_text(f"#!/bin/sh\n: >{asked}\nexec sleep 60\n")
    program.chmod(0o755)
    process = subprocess.Popen(
        ["python3", ROOT / "docker/verbs" / script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(asked.exists, "the command's question to Docker")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == -signal.SIGINT


def test_leaving_the_question_of_clean_deletes_nothing_and_says_so(tmp_path: Path) -> None:
    main, terminal = pty.openpty()
    os.write(main, b"\x04")  # Ctrl-D
    done = run(tmp_path, "docker/verbs/clean", "", stdin=terminal)
    os.close(main)
    os.close(terminal)
    assert done.returncode == 1
    assert "Nothing was deleted." in done.stderr


def test_the_base_images_are_not_rebuilt_for_an_unknown_argument(tmp_path: Path) -> None:
    done = run(tmp_path, "docker/bases/ensure", "echo docker was run", arguments=("fresh",))
    assert done.returncode == 1
    assert "The argument is 'fresh'" in done.stderr
    assert "docker was run" not in done.stdout + done.stderr


@pytest.mark.parametrize("is_pulled", [True, False])
def test_a_base_image_that_is_here_but_could_not_be_pulled_again_is_not_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pulled: bool
) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "compose.yaml")
    for name in ("MAILHOG", "POSTGRES", "PYTHON", "NGINX"):
        monkeypatch.setenv(f"{name}_IMAGE", f"registry.example/{name.lower()}:1")
    failure = 'case "$1 $2" in "pull registry.example/nginx:1") echo reset by peer; exit 1 ;; esac'
    docker = "" if is_pulled else failure
    done = run(tmp_path, "docker/bases/ensure", docker, arguments=("--fresh",))
    assert done.returncode == (0 if is_pulled else 1)
    said = "Not updated, because pulling failed: registry.example/nginx:1\n"
    assert (said in done.stderr) != is_pulled
    assert ("not available: reset by peer" in done.stdout) != is_pulled


@pytest.mark.parametrize(
    ("settings", "engine", "shared"),
    [
        ({"DOMAIN": "blog.example.org"}, "26.1.5+dfsg1 false", True),
        ({"DOMAIN": "blog.example.org"}, "26.1.5+dfsg1 true", False),
        ({"DOMAIN": "blog.example.org"}, "27.0.1 false", False),
        ({"DOMAIN": "blog.example.org", "IPV6": "false"}, "26.1.5 false", False),
        ({}, "26.1.5 false", False),
    ],
)
def test_make_up_says_if_all_visitors_over_ipv6_have_the_address_of_the_gateway(
    settings: dict[str, str], engine: str, shared: bool
) -> None:
    stubs = "app_name() { echo Blog; }; has_service() { return 1; }; site_address() { :; }\n"
    stubs += f"web_containers() {{ :; }}; docker() {{ echo '{engine}'; }}\n"
    done = call("docker/verbs/up", f"{stubs}default_bind() {{ echo ::; }}\naddresses", **settings)
    assert ("  Limits      not per client over IPv6" in done.stdout) == shared


def test_the_rows_of_a_long_name_are_aligned() -> None:
    stubs = "app_name() { echo a-very-long-name; }; has_service() { [[ $1 == db ]]; }\n"
    stubs += "site_address() { echo URL; }; default_bind() { echo ::; }\n"
    stubs += "web_containers() { echo web; }; docker() { :; }\n"
    done = call("docker/verbs/up", f"{stubs}addresses", APP_DIR="../app")
    rows = done.stdout.splitlines()[1:]
    columns = {len(row) - len(row[18:].lstrip()) for row in rows}
    assert columns == {20}, done.stdout
    assert any(row.startswith("  Database ") for row in rows)


def test_an_engine_that_manages_no_swarm_is_told_that_no_stack_was_removed(tmp_path: Path) -> None:
    docker = 'case "$1" in info) echo false ;; compose) echo \'  "name": "blog",\' ;; esac'
    done = run(tmp_path, "deploy/swarm/down", docker)
    assert done.returncode == 0, done.stderr
    assert "This engine does not manage a swarm, so no stack was removed." in done.stdout


@pytest.mark.parametrize("script", ["docker/verbs/rotate-secrets", "deploy/swarm/rotate-secrets"])
@pytest.mark.parametrize("folder", ["", "../app"])
def test_a_rotation_says_what_becomes_invalid_in_your_app(script: str, folder: str) -> None:
    done = call(script, "say_rotated", APP_DIR=folder)
    assert "The secrets are rotated." in done.stdout
    assert ("Flask-Login's remember cookies" in done.stdout) == bool(folder)
