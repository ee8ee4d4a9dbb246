"""The smallest WSGI app: what server and proxy alone cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BODY = b"x" * 1000


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with a kilobyte."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1000")])
    return [BODY]
