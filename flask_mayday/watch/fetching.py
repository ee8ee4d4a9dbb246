"""Requests a URL over HTTP: follows no redirect, and reads only the beginning of the response."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

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
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Response:
    """Send a GET request and return the response, whatever its status.

    ``timeout`` is in seconds for each step of the connection. ``address`` and ``port`` replace
    those of the URL's host for the connection; the request still names that host. ``context``
    decides which certificates are trusted; by default those that the system trusts. Raises
    :exc:`OSError` or :exc:`http.client.HTTPException`.
    """
    parts = urlsplit(url)
    host, port = address or parts.hostname or "", port or parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = context or ssl.create_default_context()
        connection = _TlsConnection(host, port, parts.hostname or "", context, timeout)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": USER_AGENT}
        connection.request("GET", target, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        location = response.getheader("Location") or ""
        return Response(response.status, response.read(BODY_BYTES), location)
    finally:
        connection.close()


class _TlsConnection(http.client.HTTPSConnection):
    """A connection to one host that asks for the certificate of another (SNI)."""

    def __init__(
        self, host: str, port: int | None, name: str, context: ssl.SSLContext, timeout: float
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        connection = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(connection, server_hostname=self._name)
        except BaseException:
            connection.close()
            raise


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
