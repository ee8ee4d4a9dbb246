"""gunicorn's response, with its head and the first part of its body sent in one system call.

gunicorn sends the head with one call and the body with the next. If the worker is killed between
the two, the visitor gets a status and an empty page, and nginx can no longer send its own page.

The server also closes the connection together with the end of the response, before nginx does: the
side that closes first keeps its port occupied for a minute. nginx has 28,000 ports for connections
to one address, so at 500 requests a second it would run out. The server cannot: its side of every
connection has the same port.
"""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from gunicorn.http import wsgi


def http_date(timestamp: float | None = None) -> str:
    """Return a time, by default the current one, as text for a header."""
    return _date_of_second(int(time.time() if timestamp is None else timestamp))


@lru_cache(maxsize=1)
def _date_of_second(second: int) -> str:
    return formatdate(second, usegmt=True)


class _BufferedSocket:
    """A socket that sends the first piece of data together with the second."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.buffered: bytes | None = None
        self.is_passing = False  # whether data is passed on at once
        self.flags = 0

    def sendall(self, data: bytes) -> None:
        if self.is_passing:
            self.sock.sendall(data, self.flags)
        elif self.buffered is None:
            self.buffered = data
        else:
            buffered, self.buffered, self.is_passing = self.buffered, None, True
            self.sock.sendall(buffered + data, self.flags)

    def flush(self) -> None:
        if self.buffered is not None:
            buffered, self.buffered = self.buffered, None
            self.sock.sendall(buffered, self.flags)
        self.is_passing = True

    def __getattr__(self, name: str) -> Any:
        self.flush()  # any other use of the socket must come after the data
        return getattr(self.sock, name)


class WholeResponse(wsgi.Response):  # type: ignore[misc]
    """A response whose head is sent together with the first part of its body."""

    headers: list[tuple[str, str]]
    headers_sent: bool
    sent: int
    response_length: int | None

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        super().__init__(req, _BufferedSocket(sock), cfg)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Begin the response, or replace one that has failed before it was sent (PEP 3333).

        gunicorn would send the headers of both.
        """
        if exc_info and (not self.headers_sent or self.sock.buffered is not None):
            self.sock.buffered = None
            self.headers_sent = False
            self.headers = []
            self.response_length = None
        return super().start_response(status, headers, exc_info)

    def write(self, arg: bytes) -> None:
        """Send a part of the body. The kernel holds the last one until :meth:`close`."""
        length = self.response_length
        if length is not None and self.sent + len(arg) >= length and self._ends_connection():
            self.sock.flags = socket.MSG_MORE
        super().write(arg)

    def close(self) -> None:
        """End the response, and send the head of one without a body."""
        ends_connection = self._ends_connection()
        if ends_connection:
            self.sock.flags = socket.MSG_MORE
        super().close()
        self.sock.flush()
        if ends_connection:
            self.sock.sock.shutdown(socket.SHUT_WR)

    def _ends_connection(self) -> bool:
        return self.should_close() and not isinstance(self.sock.sock, ssl.SSLSocket)
