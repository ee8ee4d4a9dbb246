"""How the commands find out whether the stack runs on a swarm."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_an_error_in_the_settings_is_shown_on_a_swarm_too(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = load("docker/verbs/runtime.py")

    def docker(*command: str) -> subprocess.CompletedProcess[str]:
        if command[1] == "info":
            return subprocess.CompletedProcess(command, 0, "true\n", "")
        return subprocess.CompletedProcess(command, 1, "", "the file .env is invalid\n")

    monkeypatch.setattr(runtime, "run", docker)
    with pytest.raises(SystemExit, match=r"^error: the file \.env is invalid$"):
        runtime.current()


def test_with_a_mail_server_of_its_own_a_stack_has_no_page_of_mails(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = load("docker/verbs/runtime.py")
    listing = subprocess.CompletedProcess((), 0, "nginx\nweb\n", "")
    monkeypatch.setattr(runtime, "published_at", lambda service, port: None)
    monkeypatch.setattr(runtime, "run", lambda *command: listing)
    with pytest.raises(SystemExit, match="MailHog is not part of this stack"):
        runtime.Compose().mail_page()


def test_a_machine_without_docker_is_told_what_to_run(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"docker is not installed.*make doctor"):
        load("docker/verbs/runtime.py").current()


@pytest.mark.parametrize("script", ["capacity", "sbom"])
def test_capacity_and_sbom_say_what_to_do_on_a_machine_without_docker(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    module = load(f"docker/verbs/{script}.py")
    monkeypatch.setattr(module, "TARGET", tmp_path, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"docker is not installed.*make doctor"):
        module.main()


@pytest.mark.parametrize(
    ("ports", "site"),
    [("8080 80\n\n", "http://127.0.0.1:80"), ("8080 80\n8443 443\n", "https://127.0.0.1:443")],
)
def test_the_site_on_a_swarm_is_reached_at_the_port_of_nginx(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, ports: str, site: str
) -> None:
    runtime = load("docker/verbs/runtime.py")
    found = subprocess.CompletedProcess((), 0, ports, "")
    monkeypatch.setattr(runtime, "run", lambda *command: found)
    assert runtime.Swarm("m").site() == site
    found.stdout = ""
    with pytest.raises(SystemExit, match="nginx is not running"):
        runtime.Swarm("m").site()
