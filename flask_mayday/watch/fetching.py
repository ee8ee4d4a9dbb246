"""Requests a URL over HTTP: follows no redirect, and reads only the beginning of the response."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from ..courier.http_request import DirectConnection

USER_AGENT: Final = "flask-mayday-watch"  # nginx/edge-log.conf leaves out requests with this name
BODY_BYTES: Final = 4096  # of a response that are read


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    body: bytes
    location: str = ""  # where a redirect leads

    @property
    def line(self) -> str:
        """The status with its phrase, as ``502 Bad Gateway``."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


def fetch(
    url: str,
    timeout: float,
    *,
    address: str | None = None,
    port: int | None = None,
    context: ssl.SSLContext | None = None,
) -> Response:
    """Send a GET request and return the response, whatever its status.

    ``timeout`` is in seconds for each step of the connection. ``address`` and ``port`` replace
    those of the URL's host for the connection; the request still names that host. ``context``
    decides which certificates are trusted; by default those that the system trusts. Raises
    :exc:`OSError` or :exc:`http.client.HTTPException`.
    """
    parts = urlsplit(url)
    host, is_secure = parts.hostname or "", parts.scheme == "https"
    port = port or parts.port or (443 if is_secure else 80)
    context = (context or ssl.create_default_context()) if is_secure else None
    connection = DirectConnection(host, port, (address or host, port), timeout, context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": USER_AGENT}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location") or ""
        return Response(response.status, response.read(BODY_BYTES), location)
    finally:
        connection.close()


def addresses_of(url: str) -> list[str]:
    """Return every address of a URL's host. Raises :exc:`OSError` if there is none."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def reason_of(error: Exception, timeout: float) -> str:
    """Return in a few words why the request of a URL failed; ``timeout`` is in seconds."""
    match error:
        case socket.gaierror():
            return "its name does not resolve"
        case TimeoutError():
            return f"no answer within {timeout:.0f} s"
        case ConnectionRefusedError():
            return "the connection was refused"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or type(error).__name__})"
        case OSError() if error.strerror:
            return error.strerror.lower()
    return type(error).__name__
