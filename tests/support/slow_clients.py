"""Clients that are slow on purpose; runs on the standard library alone, also in a container.

Usage: ``slow_clients.py HOST PORT KIND COUNT``, until the standard input ends. KIND is
``headers`` (sends one byte a second of the headers), ``body`` (the same with a body of 1 MB) or
``reading`` (asks for much and reads one byte a second). A connection that the server closes is
opened again.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

MAXIMUM = 300  # seconds
HEADERS = b"POST /explore HTTP/1.1\r\nHost: x\r\n"
BODY = HEADERS + b"Content-Length: 1000000\r\n\r\n" + b"a" * 20_000
READING = b"GET /static/microblog.css HTTP/1.1\r\nHost: x\r\n\r\n" * 20
FIRST = {"headers": HEADERS + b"X: ", "body": BODY, "reading": READING}


def connect(host: str, port: int, kind: str) -> socket.socket:
    client = socket.socket()
    if kind == "reading":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.settimeout(20)
    client.connect((host, port))
    client.settimeout(0)
    with contextlib.suppress(OSError):  # closed at once: replaced in the next round
        client.send(FIRST[kind])
    return client


def is_open(client: socket.socket, kind: str) -> bool:
    """Send or read one byte; return whether the connection is still of use."""
    try:
        if kind == "reading":
            return bool(client.recv(1))
        client.send(b"a")
        return not readable(client)
    except BlockingIOError:
        return True
    except OSError:
        return False


def readable(source: socket.socket | int, seconds: float = 0) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def main(host: str, port: int, kind: str, count: int) -> None:
    clients = [connect(host, port, kind) for _ in range(count)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    end = time.monotonic() + MAXIMUM
    while time.monotonic() < end and not readable(sys.stdin.fileno(), 1):
        for number, client in enumerate(clients):
            if not is_open(client, kind):
                client.close()
                clients[number] = connect(host, port, kind)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
