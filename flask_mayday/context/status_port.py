"""The status port: which requests have come to ``STATUS_PORT``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def is_status_request(environ: WSGIEnvironment, port: int) -> bool:
    """Return whether a request has come to the status port ``port``."""
    if environ.get("SERVER_PORT") != str(port):
        return False
    # Behind a Unix socket, gunicorn takes the port from the Host header, which a client chooses.
    connection = environ.get("gunicorn.socket")
    return connection is None or connection.family != socket.AF_UNIX
