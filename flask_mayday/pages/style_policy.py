"""The Content-Security-Policy of our own pages, which have their style inline."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from flask import Response, request

from .plain import plain_page

HEADER: Final = "Content-Security-Policy"
OWN_PAGE: Final = "flask_mayday.own_page"  # in the WSGI environment: the response and its policy
STYLE: Final = re.compile("<style>(.*?)</style>", re.DOTALL)


def _policy(style: str) -> str:
    return (
        f"default-src 'none'; style-src {style}; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def _hashes(*pages: str) -> str:
    """Return the sources that allow the style of these pages, and no other."""
    digests = (hashlib.sha256(style.encode()) for page in pages for style in STYLE.findall(page))
    return " ".join(f"'sha256-{base64.b64encode(each.digest()).decode()}'" for each in digests)


# The style is the same on every page: no nonce is needed.
POLICY: Final = _policy(
    _hashes(
        (Path(__file__).parent / "templates" / "style.html").read_text(encoding="utf-8"),
        plain_page(500, "", "", ""),
    )
)
# A mail has style attributes too, because some mail programs ignore style elements.
MAIL_POLICY: Final = _policy("'unsafe-inline'")


def allow_inline_style(response: Response, policy: str = POLICY) -> Response:
    """Set the policy of a response that holds one of our pages, and return the response."""
    request.environ[OWN_PAGE] = response, policy
    response.headers[HEADER] = policy
    return response


def restore_policy(response: Response) -> Response:
    """Set the policy of our page again, after the app's ``after_request`` functions.

    One of them may have set a policy that forbids inline style, as Flask-Talisman does.
    """
    own, policy = request.environ.get(OWN_PAGE, (None, ""))
    if own is response:
        response.headers[HEADER] = policy
    return response
