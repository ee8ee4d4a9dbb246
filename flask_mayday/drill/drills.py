"""The drills: one function for each kind of failure."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlencode

from flask import Response, abort, current_app, request

from .. import database as app_database
from ..context import request_id
from ..pages.error_pages import environment

LOOPBACK: Final = "127.0.0.1"
FLOOD_DEFAULT: Final = 500
MAX_FLOOD: Final = 10_000
FLOOD_CLIENTS: Final = 4  # concurrent requests
FLOOD_TIMEOUT: Final = 25.0  # seconds
BURST_DEFAULT: Final = 5000
MAX_BURST: Final = 100_000

logger = logging.getLogger(__name__)


class DrillError(Exception):
    """An error raised on purpose; those with the same ``fingerprint`` are identical errors."""

    def __init__(self, message: str, fingerprint: str) -> None:
        super().__init__(message)
        self.report_fingerprint = fingerprint


class DrillUnavailableError(Exception):
    """The error of the ``unavailable`` drill, which the app answers with 503."""


class DrillNotPossibleError(Exception):
    """A drill that needs something which this app or server does not have."""


def exception() -> Response:
    """Raise an exception. Errors with the same message are identical; without one, each differs."""
    message = request.form.get("message", "")
    raise DrillError(
        message or "Test error raised from /drill", message or str(request_id.current())
    )


def database() -> Response:
    """Run an SQL statement that fails."""
    db = app_database.extension_of(current_app)
    if db is None:
        raise DrillNotPossibleError(
            "This drill needs Flask-SQLAlchemy, which this app does not use."
        )
    import sqlalchemy

    statement = sqlalchemy.text("SELECT 1 FROM mayday_drill_no_such_table WHERE name = :name")
    db.session.execute(statement, {"name": "drill"})
    return Response("This drill needs a database without a table mayday_drill_no_such_table.")


def template() -> Response:
    """Render a template that fails."""
    return Response(environment.from_string("{{ nothing.here }}").render())


def unavailable() -> Response:
    """Raise what an app raises when a service that it needs is down."""
    raise DrillUnavailableError("Test error raised from /drill: a service is unavailable")


def timeout() -> Response:
    """Sleep for twice ``REQUEST_TIMEOUT``, so that the watchdog reports a hung request."""
    time.sleep(current_app.extensions["mayday"].settings.server.request_timeout * 2)
    return Response("The request was not stopped: this server has no watchdog.")


def crash() -> Response:
    """Kill the worker process that serves this request."""
    if "gunicorn.socket" not in request.environ:
        raise DrillNotPossibleError(
            "This drill needs gunicorn: this server has no worker processes."
        )
    os.kill(os.getpid(), signal.SIGKILL)
    return Response("The worker was not killed.")


def flood() -> Response:
    """Raise many identical errors, each in a request of its own, so that all workers take part."""
    count = _number("count", FLOOD_DEFAULT, MAX_FLOOD)
    message = f"Flood of {count} errors from request {request_id.current()}"
    address = _own_address()
    body = urlencode({"message": message})
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "Host": request.host,  # the app may refuse its address as a host name
    }
    deadline = time.monotonic() + FLOOD_TIMEOUT
    shares = [count // FLOOD_CLIENTS + (n < count % FLOOD_CLIENTS) for n in range(FLOOD_CLIENTS)]
    with ThreadPoolExecutor(FLOOD_CLIENTS) as clients:
        results = clients.map(lambda n: _raise_errors(address, body, headers, n, deadline), shares)
    statuses: Counter[str] = sum(results, Counter())
    return _json(ordered=count, raised=statuses["500"], statuses=statuses, message=message)


def _raise_errors(
    address: tuple[str, int], body: str, headers: dict[str, str], count: int, deadline: float
) -> Counter[str]:
    statuses: Counter[str] = Counter()
    for _ in range(count):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            statuses["not tried"] += 1
            continue
        connection = http.client.HTTPConnection(*address, timeout=remaining)
        try:
            connection.request("POST", "/drill/exception", body, headers)
            response = connection.getresponse()
            response.read()
            statuses[str(response.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            statuses[type(error).__name__] += 1
        finally:
            connection.close()
    return statuses


def _own_address() -> tuple[str, int]:
    """Return host and port of this server itself, and not of a proxy in front of it."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return (LOOPBACK, int(request.environ["SERVER_PORT"]))
    own = connection.getsockname()
    if isinstance(own, str | bytes):
        raise DrillNotPossibleError(
            "This drill needs a server that listens at a port: this one has a Unix socket."
        )
    # gunicorn names the address that it listens at. A wildcard includes the loopback address.
    try:
        listens_at = ip_address(request.environ["SERVER_NAME"])
    except ValueError:
        return (LOOPBACK, int(own[1]))
    return (LOOPBACK if listens_at.is_unspecified else str(listens_at), int(own[1]))


def log_burst() -> Response:
    """Write many lines to the log, so that it rotates."""
    lines = _number("lines", BURST_DEFAULT, MAX_BURST)
    for number in range(1, lines + 1):
        logger.info("Line %d of %d of a burst from /drill", number, lines)
    return _json(ordered=lines, written=lines)


def _number(field: str, default: int, maximum: int) -> int:
    value = request.form.get(field) or str(default)
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= maximum:
        abort(400, f"The field {field} takes a whole number from 1 to {maximum}.")
    return int(value)


def _json(**content: object) -> Response:
    return Response(json.dumps(content) + "\n", mimetype="application/json")


DRILLS: Final[dict[str, Callable[[], Response]]] = {
    "exception": exception,
    "database": database,
    "template": template,
    "unavailable": unavailable,
    "timeout": timeout,
    "crash": crash,
    "flood": flood,
    "log-burst": log_burst,
}
