"""A webhook's receiver on 127.0.0.1: it answers, refuses, hangs, redirects or fails on request."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.compose import free_port


class WebhookServer:
    """Keeps what it has accepted in ``accepted``: pairs of headers and body.

    ``answer`` is the status to answer with, or ``hang``. ``tried`` counts all requests, and
    ``answer_headers`` and ``answer_body`` are sent with each answer.
    """

    def __init__(self, port: int = 0) -> None:
        self.answer: int | str = 200
        self.answer_headers: dict[str, str] = {}
        self.answer_body = b""
        self.refuse_word = ""  # a body with it is answered with 400
        self.accepted: list[tuple[dict[str, str], bytes]] = []
        self.tried = 0
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status = outer.judge(dict(self.headers.items()), body)
                self.send_response(status)
                for name, value in outer.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.answer_body)))
                self.end_headers()
                self.wfile.write(outer.answer_body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port or free_port()), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/a-secret-token-of-the-webhook"

    def judge(self, headers: dict[str, str], body: bytes) -> int:
        self.tried += 1
        answer = self.answer
        if answer == "hang":
            self.release.wait(300)
            return 503
        if self.refuse_word and self.refuse_word.encode() in body:
            return 400
        if 200 <= int(answer) < 300:
            self.accepted.append((headers, body))
        return int(answer)

    def messages(self) -> list[dict[str, Any]]:
        """Return the accepted messages, each id once, in the order of arrival."""
        found = {}
        for headers, body in self.accepted:
            message = json.loads(body)
            assert headers["Idempotency-Key"] == message["id"]
            found.setdefault(message["id"], message)
        return list(found.values())

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
