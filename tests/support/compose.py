"""A whole stack for the tests, with its own project, ports, volumes and images."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[2]
# The name depends on the checkout and on the process, so that the tests of several can run at once.
PROJECT = f"microblog-test-{zlib.crc32(str(ROOT).encode()):08x}"
PROJECT += os.environ.get("PYTEST_XDIST_WORKER", "").replace("gw", "-")
IMAGES = ("PYTHON_IMAGE", "POSTGRES_IMAGE", "NGINX_IMAGE", "MAILHOG_IMAGE")
IMAGES += ("PROMETHEUS_IMAGE", "BUILD_CA_FILE", "BUILD_PIP_CONF")
# For queries: what watch reports about earlier tests may come at any time.
NOT_OF_WATCH = "json_extract(body, '$.logger') IS NOT 'flask_mayday.watch'"
SETTINGS = {
    "ADMINS": "admin@microblog.example",
    "DRILL": "1",
    "HTTP_BIND": "127.0.0.1",
    "LOG_FORMAT": "text",
    "LOG_LEVEL": "INFO",
    "LOG_MAX_BYTES": "1048576",
    "MAIL_SERVER": "mailhog",
    "RELEASE": "test",
    "REPORT_MAILS_PER_HOUR": "5000",
    "REPORT_WINDOW": "5",
    "REQUEST_TIMEOUT": "10",
    "WEB_CONCURRENCY": "2",
}


def base_images() -> dict[str, str]:
    """Return the base images that `make bases` has named in .env."""
    env = ROOT / ".env"
    lines = env.read_text().splitlines() if env.exists() else []
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: pairs[name] for name in IMAGES if name in pairs}


def free_port() -> int:
    """Return a port on which nothing listens, and which no other test has got or will get.

    The kernel gives clients ports from 32768 on. One of those could be taken while the stack that
    it belongs to is stopped. For the same reason a port is returned only once in 2,000 calls, and
    each of pytest's processes has ports of its own.
    """
    for port in itertools.islice(_ports, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("100 ports are taken")


def _own_ports() -> Iterator[int]:
    # A pytest without worker processes, such as the one for the swarm, which runs beside gw0 to
    # gw2, takes the ports of a gw6.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw6").removeprefix("gw")) % 8
    own = [16_000 + worker * 2000 + number for number in range(2000)]
    start = random.randrange(len(own))  # other checkouts may run their tests too
    return itertools.cycle(own[start:] + own[:start])


_ports = _own_ports()


def wait_until(look: Callable[[], object], what: str, timeout: float = 120.0) -> object:
    """Call ``look`` until it returns something, for at most ``timeout`` s; return that."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def request_id(self) -> str:
        """The request id, which every response must have exactly once."""
        value = self.header("X-Request-ID")
        assert value is not None, f"no request id in {self}"
        assert re.fullmatch("[0-9a-f]{32}", value)
        return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return None


# Over HTTPS the certificate is for the site's name, not for 127.0.0.1. test_tls.py verifies it.
_https = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
_opener = urllib.request.build_opener(_NoRedirect, _https)


def request(
    url: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
    timeout: float = 60,
) -> Answer:
    """Send a request, a POST if there is a form, and return the response."""
    data = urlencode(form).encode() if form is not None else None
    sent = urllib.request.Request(url, data=data, headers=dict(headers or {}), method=method)
    try:
        answer = _opener.open(sent, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        body = answer.read().decode()
        return Answer(answer.status or 0, list(answer.headers.items()), body)


@dataclass
class Stack:
    """A compose project: its verbs, its addresses, its mails and its log."""

    project: str
    directory: Path = ROOT
    settings: dict[str, str] = field(default_factory=dict)
    http_port: int = field(default_factory=free_port)
    mailhog_port: int = field(default_factory=free_port)
    https_port: int = field(default_factory=free_port)
    debug_port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "COMPOSE_PROJECT_NAME": self.project,
            "HTTP_PORT": str(self.http_port),
            "HTTPS_PORT": str(self.https_port),
            "MAILHOG_PORT": str(self.mailhog_port),
            "DEBUG_PORT": str(self.debug_port),
        }
        return {**os.environ, **SETTINGS, **base_images(), **self.settings, **own}

    @property
    def url(self) -> str:
        if "TLS" in self.settings or "DOMAIN" in self.settings:
            return f"https://127.0.0.1:{self.https_port}"
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def mailhog(self) -> str:
        return f"http://127.0.0.1:{self.mailhog_port}"

    def run(
        self, *command: str, check: bool = True, timeout: float = 1200, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout with the project's environment."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run("docker", "compose", *arguments, check=check).stdout

    def make(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run("make", *arguments, check=check, **environment)

    def execute(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in the first container of a service and return its output."""
        container = next(iter(self.containers(service)), f"no container of {service}")
        return self.run("docker", "exec", container, *command, check=check).stdout

    def shell(self, service: str, script: str, check: bool = True) -> str:
        return self.execute(service, "sh", "-c", script, check=check)

    def containers(self, service: str, *arguments: str) -> list[str]:
        """Return the ids of a service's running containers, in the order of their numbers.

        `docker ps` takes a tenth of the CPU time of `docker compose ps`, which reads all files.
        """
        labels = {"project": self.project, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{key}={labels[key]}" for key in labels]
        shown = '{{.Label "com.docker.compose.container-number"}} {{.ID}}'
        listed = self.run("docker", "ps", "--no-trunc", *filters, *arguments, "--format", shown)
        numbered = (line.split() for line in listed.stdout.splitlines())
        return [identifier for _, identifier in sorted(numbered, key=lambda one: int(one[0]))]

    def inspect(self, service: str) -> dict[str, object]:
        identifier = self.containers(service, "--all")[0]
        found = json.loads(self.run("docker", "inspect", identifier).stdout)
        return dict(found[0])

    def health(self, service: str) -> str:
        """Return the health of a service's running containers, one a line."""
        shown = "{{if .State.Health}}{{.State.Health.Status}}{{end}}"
        containers = self.containers(service)
        command = ("docker", "inspect", "--format", shown, *containers)
        return self.run(*command).stdout.strip() if containers else ""

    def get(self, path: str, **arguments: object) -> Answer:
        return request(self.url + path, **arguments)  # type: ignore[arg-type]

    def drill(self, kind: str, **form: str) -> Answer:
        return request(f"{self.url}/drill/{kind}", form=form)

    def mails(self) -> list[EmailMessage]:
        """Return every captured mail, the newest first."""
        found: list[EmailMessage] = []
        while True:
            address = f"{self.mailhog}/api/v2/messages?start={len(found)}&limit=250"
            page = json.loads(request(address).text)
            found += [
                message_from_string(item["Raw"]["Data"], policy=default)  # type: ignore[misc]
                for item in page["items"]
            ]
            if len(found) >= page["total"] or not page["items"]:
                return found

    def mail_of(self, request_id: str) -> EmailMessage:
        """Wait for the mail with a request id and return it."""
        found = wait_until(
            lambda: [mail for mail in self.mails() if mail["X-Request-ID"] == request_id],
            f"a mail with request id {request_id}",
        )
        assert isinstance(found, list)
        assert len(found) == 1
        return found[0]

    def log(self) -> str:
        """Return the whole log, rotated files too."""
        return self.shell("web", "cat $(ls -tr /var/log/microblog/microblog.log*)")

    def spool(self, query: str) -> list[list[object]]:
        """Query the spool's database once the courier has taken in all files."""
        script = (
            "import glob, json, sqlite3, sys, time;"
            "waiting = '/var/spool/microblog/incoming/*.[lt]*';"  # .lines and .taken
            "[time.sleep(0.1) for _ in range(100) if glob.glob(waiting)];"
            "spool = sqlite3.connect('/var/spool/microblog/reports.db', timeout=60);"
            "print(json.dumps(spool.execute(sys.argv[1]).fetchall()))"
        )
        found: list[list[object]] = json.loads(self.execute("web", "python3", "-c", script, query))
        return found

    def is_healthy(self) -> bool:
        try:
            return (
                request(f"{self.url}/health/live", timeout=20).status == 200
                and request(f"{self.mailhog}/api/v2/jim", timeout=20).status == 404
                and len(self.containers("db")) == len(self.containers("web")) == 1
            )
        except OSError:
            return False

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout", "300", *arguments)

    def remove(self) -> None:
        """Remove everything of the project."""
        # With all profiles: Compose leaves services that are not selected, and their volumes.
        down = ["down", "--volumes", "--remove-orphans", "--timeout", "0"]
        self.compose("--profile", "*", *down, check=False)
        label = f"label=microblog.stack.project={self.project}"
        images = self.run("docker", "images", "--quiet", "--filter", label).stdout.split()
        if images:
            self.run("docker", "image", "rm", "--force", *sorted(set(images)))


def end(stack: Stack) -> None:
    """Remove a stack, or keep it for inspection with KEEP_STACK=1."""
    if os.environ.get("KEEP_STACK") != "1":
        stack.remove()
