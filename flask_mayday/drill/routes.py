"""Drills: break the app on purpose, to see that page, mail and log are where they should be."""

from __future__ import annotations

import http.client
import logging
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, abort, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import create_engine, make_url
from werkzeug.datastructures import Headers

from app.database import db
from app.models import User

from ..context import request_id
from ..pages.error_pages import REPORTED, WORDS
from ..pages.error_pages import page as error_page
from ..settings import Settings

FLOOD_DEFAULT: Final = 500
FLOOD_MAXIMUM: Final = 10_000
FLOOD_CLIENTS: Final = 4  # at once: fewer than a worker has threads, one of which is ours
FLOOD_TIMEOUT: Final = 25.0  # seconds
NGINX_PAGES: Final = (400, 403, 404, 405, 412, 413, 414, 431, 500, 501, 502, 503, 504, 505)
BURST_DEFAULT: Final = 5000
BURST_MAXIMUM: Final = 100_000

blueprint = Blueprint("drill", __name__, url_prefix="/drill")
logger = logging.getLogger(__name__)


class DrillError(Exception):
    """The error that was ordered."""

    def __init__(self, message: str, fingerprint: str) -> None:
        super().__init__(message)
        self.report_fingerprint = fingerprint


@blueprint.app_context_processor
def offer() -> dict[str, object]:
    """Let every page say that there are drills, and where their mails can be read."""
    settings: Settings = current_app.extensions["settings"]
    return {
        "drill": settings.drill,
        "mail_ui": settings.mail_ui if settings.drill else None,
    }


@blueprint.before_request
def refuse() -> None:
    """Hide the drills where they are off; refuse a form that another site has sent."""
    if not current_app.extensions["settings"].drill:
        abort(404)
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin is not None and not _is_own(origin):
        abort(403, "This form was sent by another site: open /drill itself.")


def _is_own(origin: str) -> bool:
    # "null", an opaque origin, has no host and so is never ours (RFC 6454).
    try:
        return bool(origin) and urlsplit(origin).netloc == request.host
    except ValueError:
        return False


@blueprint.get("")
def page() -> str:
    """Show the drills, each with what will happen."""
    return render_template("drill.html")


@blueprint.get("/pages")
def pages() -> str:
    """List every error page, the app's and nginx's."""
    return render_template("drill_pages.html", words=WORDS, nginx=NGINX_PAGES)


@blueprint.get("/pages/<int:status>")
@blueprint.get("/pages/nginx/<int:status>", endpoint="nginx_preview")
def preview(status: int) -> ResponseReturnValue:
    """Show an error page, without an error and so without a report.

    nginx puts its own in the place of those that are asked for as nginx's.
    """
    if status not in WORDS:
        abort(404)
    request.environ[REPORTED] = True
    return error_page(status, Headers())


@blueprint.post("/<kind>")
def run(kind: str) -> ResponseReturnValue:
    """Carry out one drill."""
    drill = DRILLS.get(kind)
    if drill is None:
        abort(404)
    return drill()


def exception() -> ResponseReturnValue:
    """Raise an exception. An exact message makes equal errors, without one each is its own."""
    message = request.form.get("message", "")
    raise DrillError(
        message or "This error was ordered at /drill", message or str(request_id.current())
    )


def database() -> ResponseReturnValue:
    """Write a name twice, past every check: the error of the tutorial's rename bug."""
    for number in range(2):
        address = f"{number}.{request_id.current()}@drill.invalid"
        db.session.add(User(username="drill", email=address))
        db.session.flush()
    return "The database has no constraint on user names.", 200


def template() -> ResponseReturnValue:
    """Render a template that fails."""
    return render_template("drill_broken.html")


def unavailable() -> ResponseReturnValue:
    """Ask a database where none is: nothing listens on port 1."""
    url = make_url("postgresql+psycopg2://nobody@127.0.0.1:1/nothing?connect_timeout=1")
    create_engine(url, hide_parameters=True).connect()
    return "There is a database on port 1.", 200


def timeout() -> ResponseReturnValue:
    """Take longer than a request may: nginx gives up, and the watchdog reports where it hangs."""
    time.sleep(current_app.extensions["settings"].request_timeout * 2)
    return "Nobody waited for this.", 200


def crash() -> ResponseReturnValue:
    """Kill the worker in the middle of the request."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "The worker has survived SIGKILL.", 200


def flood() -> ResponseReturnValue:
    """Raise that many equal errors, in all workers: each is a request of its own to this server."""
    count = _number("count", FLOOD_DEFAULT, FLOOD_MAXIMUM)
    message = f"flood of {count} ordered by request {request_id.current()}"
    address = _own_address()
    deadline = time.monotonic() + FLOOD_TIMEOUT
    with ThreadPoolExecutor(FLOOD_CLIENTS) as clients:
        shares = [
            count // FLOOD_CLIENTS + (n < count % FLOOD_CLIENTS) for n in range(FLOOD_CLIENTS)
        ]
        results = clients.map(lambda n: _raise_errors(address, message, n, deadline), shares)
    statuses: Counter[str] = sum(results, Counter())
    return jsonify(ordered=count, raised=statuses["500"], statuses=statuses, message=message)


def _raise_errors(
    address: tuple[str, int], message: str, count: int, deadline: float
) -> Counter[str]:
    statuses: Counter[str] = Counter()
    body = urlencode({"message": message})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    for _ in range(count):
        left = deadline - time.monotonic()
        if left <= 0:
            statuses["not tried"] += 1
            continue
        connection = http.client.HTTPConnection(*address, timeout=left)
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
    """Return where this server listens, behind whatever proxy the request has come through."""
    listener = request.environ.get("gunicorn.socket")
    if listener is not None:
        return ("127.0.0.1", int(listener.getsockname()[1]))
    return ("127.0.0.1", int(request.environ["SERVER_PORT"]))


def log_burst() -> ResponseReturnValue:
    """Write that many lines to the log, so that it rotates."""
    lines = _number("lines", BURST_DEFAULT, BURST_MAXIMUM)
    for number in range(1, lines + 1):
        logger.info("Line %d of %d of a burst ordered at /drill", number, lines)
    return jsonify(ordered=lines, written=lines)


def _number(field: str, default: int, maximum: int) -> int:
    value = request.form.get(field) or str(default)
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= maximum:
        abort(400, f"The field {field} takes a whole number from 1 to {maximum}.")
    return int(value)


DRILLS: Final[dict[str, Callable[[], ResponseReturnValue]]] = {
    "exception": exception,
    "database": database,
    "template": template,
    "unavailable": unavailable,
    "timeout": timeout,
    "crash": crash,
    "flood": flood,
    "log-burst": log_burst,
}
