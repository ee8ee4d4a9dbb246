"""Raises a real error through nginx and follows its request id to the mail and the log.

Exit status 0 if page, mail and log entry were found, 1 if one is missing, 2 if drills are off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NoReturn

TIMEOUT = 15.0  # seconds for each part


def main() -> int:
    """Run the drill and print how long each part took."""
    site, mailhog = address("nginx", 8080), address("mailhog", 8025)
    started = time.monotonic()
    request_id = raise_error(site)
    show("page", started, f"500 with request id {request_id}")
    show("mail", started, wait_for("mail", lambda: captured_mail(mailhog, request_id)))
    show("log", started, wait_for("log", lambda: log_entry(request_id)))
    print(f"\nRead them: {mailhog} and make logs REQUEST={request_id}")
    return 0


def address(service: str, port: int) -> str:
    """Return the URL of a service's port on this machine."""
    command = ["docker", "compose", "port", service, str(port)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        not_running(service)
    return f"http://{found.replace('0.0.0.0:', '127.0.0.1:')}"


def not_running(service: str) -> NoReturn:
    """Print which service is not running, and exit."""
    print(f"{service} is not running. Start the stack: make up", file=sys.stderr)
    sys.exit(1)


def raise_error(site: str) -> str:
    """Raise an error in a request, as for a visitor; return the request id on the page."""
    request = urllib.request.Request(f"{site}/drill/exception", data=b"", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            status, headers, page = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, headers, page = error.code, error.headers, error.read().decode()
    except OSError as error:
        fail("page", f"{site} does not answer: {error}")
    if status == 404:
        print("Drills are off: set DRILL=1 in .env and run make up.", file=sys.stderr)
        sys.exit(2)
    request_id = headers.get("X-Request-ID", "")
    if status != 500 or not request_id or request_id not in page:
        fail("page", f"status {status}, request id {request_id!r}")
    return str(request_id)


def log_entry(request_id: str) -> str | None:
    """Return the request's first log line, or ``None`` until its traceback is logged."""
    command = ["docker", "compose", "exec", "-T", "web", "sh", "-c"]
    command.append(f"grep -h -A200 {request_id} /var/log/microblog/microblog.log*")
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    has_traceback = "Traceback (most recent call last)" in output and "DrillError" in output
    return output.split("\n", 1)[0] if has_traceback else None


def captured_mail(mailhog: str, request_id: str) -> str | None:
    """Return the subject of the mail with the request id, or ``None`` until MailHog has it."""
    with urllib.request.urlopen(f"{mailhog}/api/v2/messages?limit=50", timeout=TIMEOUT) as answer:
        items = json.load(answer)["items"]
    for item in items:
        headers, body = item["Content"]["Headers"], item["Raw"]["Data"]
        if headers.get("X-Request-Id", headers.get("X-Request-ID")) == [request_id]:
            if "Traceback (most recent call last)" not in body:
                fail("mail", "it has no traceback")
            return str(headers["Subject"][0])
    return None


def wait_for(part: str, look: Callable[[], str | None]) -> str:
    """Call ``look`` until it finds something; fail with the part's name after the timeout."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := look()):
        if time.monotonic() > deadline:
            fail(part, f"nothing after {TIMEOUT:.0f} s")
        time.sleep(0.05)
    return found


def show(part: str, started: float, what: str) -> None:
    """Print a part that was found, with the seconds since the drill began."""
    print(f"{time.monotonic() - started:6.2f} s  {part:5} {what}")


def fail(part: str, why: str) -> NoReturn:
    """Print the missing part and exit."""
    print(f"The {part} is missing: {why}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
