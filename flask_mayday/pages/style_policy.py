"""The Content-Security-Policy of our own pages, which have their style inline."""

from __future__ import annotations

from typing import Final

from flask import Response, request

HEADER: Final = "Content-Security-Policy"
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
OWN_PAGE: Final = "flask_mayday.own_page"  # in the WSGI environment


def allow_inline_style(response: Response) -> Response:
    """Set the policy of a response that holds one of our pages, and return the response."""
    request.environ[OWN_PAGE] = response
    response.headers[HEADER] = POLICY
    return response


def restore_policy(response: Response) -> Response:
    """Set the policy of our page again, after the app's ``after_request`` functions.

    One of them may have set a policy that forbids inline style, as Flask-Talisman does.
    """
    if request.environ.get(OWN_PAGE) is response:
        response.headers[HEADER] = POLICY
    return response
