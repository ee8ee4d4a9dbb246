"""Our page, instead of a bare one, for requests that gunicorn refuses before the app sees them."""

from __future__ import annotations

import uuid
from typing import Any, Final

from gunicorn import util

from ..pages.plain import plain_page
from ..pages.words import WORDS

# nginx answers with its own page: only nginx knows the id of a request that cannot be read.
NGINX_PAGES: Final = "/refused"


def write_error(sock: Any, status: int, reason: str, message: str) -> None:
    """Send the page for ``status`` to the client, in place of ``gunicorn.util.write_error``."""
    del message  # it repeats what the client has sent
    request_id = uuid.uuid4().hex
    words = WORDS.get(status, WORDS[400 if status < 500 else 500])
    body = plain_page(status, words.title, words.detail, request_id).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\n"
        "Connection: close\r\n"
        "Content-Type: text/html\r\n"  # no charset: nginx would add it to its own page, even JSON
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        f"X-Request-ID: {request_id}\r\n"
        f"X-Accel-Redirect: {NGINX_PAGES}/{status}\r\n"
        "\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
