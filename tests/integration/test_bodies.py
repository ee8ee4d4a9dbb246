"""Request bodies that the app does not or cannot read."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

BODY = 1_000_000  # bytes, just below nginx's limit


def test_a_body_that_the_app_does_not_read_is_still_received(gunicorn: Callable[..., Any]) -> None:
    """Otherwise nginx, which is still sending it, would answer 502."""
    server = gunicorn()
    head = f"POST /nothing-here HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n".encode()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(head + b"a" * (BODY // 2))
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 404
            assert answer.read()
            for _ in range(BODY // 2 // 1000):
                client.sendall(b"a" * 1000)


@pytest.mark.parametrize(
    "chunks", [b"ZZ\r\nabc\r\n", b"\r\n\r\n", b"3\r\nabc\r\n0\r\n\0\r\n\r\n", b"3\r\na"]
)
def test_a_body_with_malformed_chunks_is_refused_and_not_reported(
    gunicorn: Callable[..., Any], query_spool: Callable[[str], list[Any]], chunks: bytes
) -> None:
    server = gunicorn()
    head = b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    form = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head + form + chunks)
        client.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert answer.status == 400
        assert (answer.headers["X-Request-ID"] or "nothing").encode() in answer.read()
    server.stop()
    assert query_spool("SELECT body FROM reports") == []


def test_a_request_that_gunicorn_cannot_read_is_logged_without_its_query(
    gunicorn: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = gunicorn()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"GET /login?q=private-words&next=\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    refused = r"WARNING: Invalid request from ip=127\.0\.0\.1: .*'GET /login HTTP/1\.1'"
    wait_until(lambda: re.search(refused, server.log.read_text()), "the refusal in the log")
    assert "private-words" not in server.log.read_text()
