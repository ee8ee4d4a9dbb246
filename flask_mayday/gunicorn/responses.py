"""gunicorn's response, its head and the first part of its body sent as one piece.

gunicorn sends the head with one system call and the body with the next. A worker that is killed
between the two leaves a visitor with a status, a request id in the headers and an empty page, and
nginx cannot put its own page there any more. Sent in one call, the page is there or it is not.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http import wsgi


class _Holding:
    """A socket that holds what is sent first and sends it together with what comes next."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.held: bytes | None = None
        self.passing = False

    def sendall(self, data: bytes) -> None:
        if self.passing:
            self.sock.sendall(data)
        elif self.held is None:
            self.held = data
        else:
            held, self.held, self.passing = self.held, None, True
            self.sock.sendall(held + data)

    def flush(self) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            self.sock.sendall(held)
        self.passing = True

    def __getattr__(self, name: str) -> Any:
        self.flush()  # whatever else is done with it comes after what was sent
        return getattr(self.sock, name)


class WholeResponse(wsgi.Response):  # type: ignore[misc]
    """A response whose head waits for the body."""

    headers: list[tuple[str, str]]
    headers_sent: bool

    def __init__(self, req: Any, sock: Any, cfg: Any) -> None:
        super().__init__(req, _Holding(sock), cfg)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        """Begin the answer, in place of one that was begun and has failed (PEP 3333).

        gunicorn would send the headers of both. A head that waits for its body can be taken back.
        """
        if exc_info and (not self.headers_sent or self.sock.held is not None):
            self.sock.held = None
            self.headers_sent = False
            self.headers = []
            self.response_length = None
        return super().start_response(status, headers, exc_info)

    def close(self) -> None:
        """End the response, and send a head that has waited in vain: there was no body."""
        super().close()
        self.sock.flush()
