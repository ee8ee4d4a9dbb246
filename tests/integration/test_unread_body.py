"""A request that is answered before its body has been read."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

BODY = 1_000_000  # bytes, a little less than nginx lets through


def test_a_body_that_nobody_reads_is_taken_all_the_same(gunicorn: Callable[..., Any]) -> None:
    """nginx, which is still sending it, would have no answer but a 502."""
    server = gunicorn()
    head = f"POST /nothing-here HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n".encode()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(head + b"a" * (BODY // 2))
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 404
            assert answer.read()
            for _ in range(BODY // 2 // 1000):
                client.sendall(b"a" * 1000)
