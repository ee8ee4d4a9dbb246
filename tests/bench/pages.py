"""The pages: CPU time per request in each container, ours against the tutorial's.

Both stand behind nginx with PostgreSQL, in containers of the same images, with the same users and
posts. A bare WSGI app behind the tutorial's nginx says what server and proxy alone cost. The rounds
alternate. Throughput is printed too, but on a shared machine it varies far more than CPU time.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import statistics
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cpu import cpu_seconds
from tests.bench.load import load
from tests.bench.servers import free_port
from tests.support.compose import Stack, base_images, wait_until

FOLDER = Path(__file__).with_name("tutorial")
PROJECT = "microblog-bench"
SECONDS = 2
# Flask-Login stores a hash of it in the session: with another one than the login's, every request
# would write the session anew.
AGENT = "bench"
PASSWORD = "bench password"
# Path in ours, path in the tutorial's, whether it is asked as a logged-in user.
PAGES = {
    "login": ("/login", "/login", False),
    "404": ("/nothing", "/nothing", False),
    "user page": ("/user/user1", "/user/user1", True),
    "timeline": ("/", "/", True),
    "explore": ("/explore", "/explore", True),
}
SEED = """
from app import create_app, models
from app.database import db
app = create_app()
with app.app_context():
    users = [models.User(username=f"user{n}", email=f"user{n}@microblog.example", about_me="Hello")
             for n in range(20)]
    users[0].set_password("bench password")
    db.session.add_all(users)
    db.session.commit()
    db.session.add_all(models.Post(body=f"Post number {n}", author=users[n % 20])
                       for n in range(2000))
    db.session.commit()
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the stacks that are compared: its address and the containers that serve."""

    port: int
    containers: dict[str, str]  # by service
    cookie: str = ""


def measure(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Return a row for each page."""
    with both_stacks(say) as (ours, theirs, bare):
        rows = [_row(name, _rounds(name, (ours, theirs, bare), rounds, say)) for name in PAGES]
        static = [_sample(ours, "/static/microblog.css", "") for _ in range(rounds)]
        return [*rows, {"page": "static file", "ours": _summary(static)}]


@contextmanager
def both_stacks(say: Callable[[str], None]) -> Iterator[tuple[Side, Side, Side]]:
    """Run our stack and the tutorial's, with the same data."""
    ours = Stack(PROJECT, settings={"DRILL": "0"})
    tutorial_port, bare_port = free_port(), free_port()
    environment = {
        **os.environ,
        **base_images(),
        "OURS": PROJECT,
        "TUTORIAL_PORT": str(tutorial_port),
        "BARE_PORT": str(bare_port),
        "COMPOSE_PROJECT_NAME": f"{PROJECT}-tutorial",
    }

    def compose(*arguments: str) -> str:
        command = ["docker", "compose", *arguments]
        return subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=True
        ).stdout

    try:
        say("starting both stacks")
        ours.make("up")
        ours.compose("exec", "-T", "web", "python", "-c", SEED)
        compose("up", "--detach", "--wait", "--quiet-pull")
        wait_until(lambda: _answers(tutorial_port), "the tutorial's app", 60)

        def container(service: str) -> str:
            return compose("ps", "--quiet", service).strip()

        our = {name: ours.containers(name)[0] for name in ("nginx", "web", "db")}
        their = {"nginx": container("nginx"), "web": container("tutorial"), "db": container("db")}
        bare = {"nginx": container("nginx"), "web": container("bare")}
        yield (
            Side(ours.http_port, our, _log_in(ours.http_port)),
            Side(tutorial_port, their, _log_in(tutorial_port)),
            Side(bare_port, bare),
        )
    finally:
        compose("down", "--volumes", "--timeout", "2")
        ours.remove()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/login", timeout=2).close()
    except OSError:
        return False
    return True


def _log_in(port: int) -> str:
    """Return the cookies of a session of user0."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.addheaders = [("User-Agent", AGENT)]
    address = f"http://127.0.0.1:{port}/login"
    page = opener.open(address).read().decode()
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page
    form = {"csrf_token": found[1], "username": "user0", "password": PASSWORD}
    answer = opener.open(address, urllib.parse.urlencode(form).encode())
    assert answer.url.rstrip("/").endswith(str(port)), answer.url
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def _rounds(
    name: str, sides: tuple[Side, Side, Side], rounds: int, say: Callable[[str], None]
) -> list[list[Row]]:
    ours, theirs, with_login = PAGES[name]
    paths = (ours, theirs, "/")
    found: list[list[Row]] = []
    for number in range(rounds):
        say(f"{name}, round {number + 1} of {rounds}")
        order = range(3) if number % 2 else range(2, -1, -1)
        samples: dict[int, Row] = {}
        for index in order:
            cookie = sides[index].cookie if with_login else ""
            samples[index] = _sample(sides[index], paths[index], cookie)
        found.append([samples[index] for index in range(3)])
    return found


def _sample(side: Side, path: str, cookie: str) -> Row:
    """Return the CPU time per request in milliseconds, by service and in all, and the rate."""
    before = {service: cpu_seconds(name) for service, name in side.containers.items()}
    run = load(side.port, SECONDS, path, headers={"Cookie": cookie, "User-Agent": AGENT})
    used = {
        service: (cpu_seconds(name) - before[service]) * 1000 / run["requests"]
        for service, name in side.containers.items()
    }
    return {"cpu_ms": used, "total_ms": sum(used.values()), "rate": run["rate"]}


def _row(name: str, samples: list[list[Row]]) -> Row:
    ours, theirs, bare = (list(column) for column in zip(*samples, strict=True))

    def ratios(those: list[Row]) -> dict[str, float]:
        found = [one["total_ms"] / our["total_ms"] for one, our in zip(those, ours, strict=True)]
        return {"ratio": statistics.median(found), "lowest": min(found), "highest": max(found)}

    return {
        "page": name,
        "ours": _summary(ours),
        "tutorial": _summary(theirs),
        "bare": _summary(bare),
        "tutorial_to_ours": ratios(theirs),
        "bare_to_ours": ratios(bare),
    }


def _summary(samples: list[Row]) -> Row:
    services = samples[0]["cpu_ms"]
    return {
        "total_ms": statistics.median(one["total_ms"] for one in samples),
        "cpu_ms": {
            name: statistics.median(one["cpu_ms"][name] for one in samples) for name in services
        },
        "rate": statistics.median(one["rate"] for one in samples),
    }


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| page | ours, CPU per request (nginx, web, db) | tutorial | tutorial to ours "
        "(lowest to highest) | bare WSGI to ours | requests/s, ours and tutorial |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = _cell(row["ours"])
        if "tutorial" not in row:
            lines.append(f"| {row['page']} | {ours} | - | - | - | {row['ours']['rate']:,.0f} |")
            continue
        one = row["tutorial_to_ours"]
        lines.append(
            f"| {row['page']} | {ours} | {_cell(row['tutorial'])} "
            f"| {one['ratio']:.2f} ({one['lowest']:.2f} to {one['highest']:.2f}) "
            f"| {row['bare_to_ours']['ratio']:.2f} "
            f"| {row['ours']['rate']:,.0f}, {row['tutorial']['rate']:,.0f} |"
        )
    return "\n".join(lines)


def _cell(summary: Row) -> str:
    parts = ", ".join(f"{value:.2f}" for value in summary["cpu_ms"].values())
    return f"{summary['total_ms']:.2f} ms ({parts})"
