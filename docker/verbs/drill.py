"""Raises a real error through nginx and follows its request id to the mail and the log.

If MailHog is the mail server, looks for the mail there. Otherwise asks the spool whether the mail
server has accepted it.

Exit status 0 if page, mail and log entry were found, 1 if one is missing, 2 if drills are off.
"""

from __future__ import annotations

import json
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NoReturn

from runtime import Compose, current

TIMEOUT = 15.0  # seconds for each part
# The site's certificate is for its name, not for the address on this machine.
UNVERIFIED = ssl._create_unverified_context()


def main() -> int:
    """Run the drill and print how long each part took."""
    stack = current()
    site, uses_mailhog = stack.site(), mail_server(stack) == "mailhog"
    started = time.monotonic()
    request_id = raise_error(site)
    show("page", started, f"500 with request id {request_id}")
    if uses_mailhog:
        mail = wait_for("mail", lambda: captured_mail(stack, request_id))
    else:
        mail = accepted_mail(stack, request_id)
    show("mail", started, mail)
    show("log", started, wait_for("log", lambda: log_entry(stack, request_id)))
    page = stack.mail_page() if uses_mailhog else ""
    print(f"\nTo read them: {page}{' and ' if page else ''}make logs REQUEST={request_id}")
    return 0


def mail_server(stack: Compose) -> str:
    """Return MAIL_SERVER as the app reads it, or an empty text if web is not running."""
    return stack.run_in("web", "printenv", "MAYDAY_MAIL_SERVER").stdout.strip()


def accepted_mail(stack: Compose, request_id: str) -> str:
    """Return when the mail server has accepted the mail, according to the spool."""
    status = ("flask", "mayday", "reports", "status", "--wait", str(int(TIMEOUT)))
    done = stack.run_in("web", *status, request_id)
    if done.returncode:
        fail("mail", (done.stderr + done.stdout).strip())
    return done.stdout.strip()


def raise_error(site: str) -> str:
    """Raise an error as a visitor would; return the request id on the page."""
    request = urllib.request.Request(f"{site}/drill/exception", data=b"", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=UNVERIFIED) as answer:
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


def log_entry(stack: Compose, request_id: str) -> str | None:
    """Return the request's first log line, or ``None`` until its traceback is logged."""
    lines = stack.log_of(request_id)
    has_traceback = "Traceback (most recent call last)" in lines and "DrillError" in lines
    return readable(lines.split("\n", 1)[0]) if has_traceback else None


def readable(line: str) -> str:
    """Return the time, the level and the message of a log line, which may be JSON."""
    if not line.startswith("{"):
        return line
    entry = json.loads(line)
    return f"{entry['time']} {entry['level']}: {entry['message']}"


def captured_mail(stack: Compose, request_id: str) -> str | None:
    """Return the subject of the mail with the request id, or ``None`` until MailHog has it."""
    for item in stack.mails(50)["items"]:
        headers, body = item["Content"]["Headers"], item["Raw"]["Data"]
        if headers.get("X-Request-Id", headers.get("X-Request-ID")) == [request_id]:
            if "Traceback (most recent call last)" not in body:
                fail("mail", "it has no traceback")
            return str(headers["Subject"][0])
    return None


def wait_for(part: str, find: Callable[[], str | None]) -> str:
    """Call ``find`` until it returns something; fail with the part's name after the timeout."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := find()):
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
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C prints no traceback
    sys.exit(main())
