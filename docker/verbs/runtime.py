"""How to reach the parts of the running stack: by Compose on this machine, or on a swarm."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from addresses import address, published_at, site_address, url
from mailhog import captured_mails

STACK_LABEL = "com.docker.stack.namespace"


class Compose:
    """The stack that Compose runs on this machine."""

    def site(self) -> str:
        """Return the URL of the site."""
        return site_address()

    def mail_page(self) -> str:
        """Return the URL of MailHog's page; exit if the settings leave MailHog out."""
        if published := published_at("mailguard", 8025):
            return url(*published)
        services = run("docker", "compose", "config", "--services")
        if services.returncode == 0 and "mailguard" not in services.stdout.split():
            sys.exit("MailHog is not part of this stack: with DOMAIN, mails go to MAIL_SERVER.")
        return address("mailguard", 8025)

    def mails(self, limit: int) -> dict[str, Any]:
        """Return what MailHog has captured: ``items``, the newest first, and their ``total``."""
        return captured_mails(self.mail_page(), limit)

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of a service."""
        return run("docker", "compose", "exec", "-T", service, *command)

    def log_of(self, request_id: str) -> str:
        """Return the lines of the app's log that a request wrote."""
        reader = ("python", "-m", "flask_mayday.log.reader", "--request", request_id)
        return self.run_in("web", *reader).stdout


class Swarm(Compose):
    """The stack on the swarm of this engine, as this node sees it."""

    def __init__(self, project: str) -> None:
        self.project = project

    def site(self) -> str:
        """Return the URL of the site on this node."""
        ports = "{{range .Endpoint.Ports}}{{.TargetPort}} {{.PublishedPort}}\n{{end}}"
        found = run("docker", "service", "inspect", "--format", ports, f"{self.project}_nginx")
        published = dict(line.split() for line in found.stdout.splitlines() if line)
        for scheme, port in (("https", "8443"), ("http", "8080")):
            if port in published:
                return f"{scheme}://127.0.0.1:{published[port]}"
        sys.exit("The service nginx is not running. Start the stack: make swarm-up")

    def mail_page(self) -> str:
        """Return an empty text: MailHog has no port on a swarm."""
        return ""

    def mails(self, limit: int) -> dict[str, Any]:
        """Return what MailHog has captured, asked from inside its container."""
        url = f"http://127.0.0.1:8025/api/v2/messages?limit={limit}"
        done = self.run_in("mailhog", "wget", "-q", "-O", "-", url)
        if done.returncode:
            sys.exit(f"MailHog does not answer: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of a service; exit if none is on this node."""
        name = f"{self.project}_{service}"
        label = f"label=com.docker.swarm.service.name={name}"
        found = run("docker", "ps", "--quiet", "--filter", label).stdout.split()
        if not found:
            sys.exit(f"{service} does not run on this node. To see where: docker service ps {name}")
        return run("docker", "exec", found[0], *command)

    def log_of(self, request_id: str) -> str:
        """Return the lines that a request wrote on any node."""
        return run("deploy/swarm/request-log", self.project, request_id).stdout


def current() -> Compose:
    """Return how the stack runs. Exits if there is an error in its settings."""
    if run("docker", "info", "--format", "{{.Swarm.ControlAvailable}}").stdout.strip() != "true":
        return Compose()
    project = compose_model()["name"]
    label = f"label={STACK_LABEL}={project}"
    services = run("docker", "service", "ls", "--quiet", "--filter", label).stdout
    return Swarm(project) if services.strip() else Compose()


def compose_model() -> dict[str, Any]:
    """Return the services, networks and volumes as Compose sees them; exit if it finds an error."""
    done = run("docker", "compose", "config", "--format", "json")
    if done.returncode:
        sys.exit(f"error: {done.stderr.strip()}")
    model: dict[str, Any] = json.loads(done.stdout)
    return model


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Return a finished command, with its output as text; exit if its program is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit(
            f"error: The program {command[0]} is not installed. To see what to do: make doctor"
        )
