"""The search for the secrets of a request's headers, which requests of one visitor share."""

from __future__ import annotations

from types import SimpleNamespace

from werkzeug.datastructures import MultiDict

from flask_mayday.redaction.names import SecretNames
from flask_mayday.redaction.request import search_for_secrets

NAMES = SecretNames()


def test_requests_of_one_visitor_share_a_search() -> None:
    first, again = ({"HTTP_COOKIE": "session=0123456789abcdef"} for _ in range(2))
    found = search_for_secrets(first, NAMES)
    assert search_for_secrets(again, NAMES) is found
    assert search_for_secrets({"HTTP_COOKIE": "session=fedcba9876543210"}, NAMES) is not found


def test_a_search_for_many_secrets_or_for_those_of_a_body_is_not_kept() -> None:
    """Anybody can send long headers, and a body contains passwords."""
    request = SimpleNamespace(form=MultiDict({"password": "correct horse battery"}))
    for environ in (
        {"HTTP_COOKIE": f"session={'0123456789abcdef' * 100}"},
        {"HTTP_COOKIE": "session=0123456789abcdef", "werkzeug.request": request},
    ):
        found = search_for_secrets(dict(environ), NAMES)
        assert search_for_secrets(dict(environ), NAMES) is not found
