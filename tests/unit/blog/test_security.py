"""The security headers of the blog."""

from __future__ import annotations

import pytest

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.mark.parametrize("path", ["/", "/explore", "/nowhere", "/edit_profile", "/static/icon.svg"])
def test_every_response_has_the_security_headers(visitor, path):
    answer = visitor.client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers.getlist(name) == [value]


def test_a_header_that_a_response_sets_itself_is_kept(app, visitor):
    app.add_url_rule("/own", "own", lambda: ("own", {"Referrer-Policy": "no-referrer"}))
    answer = visitor.client.get("/own")
    assert answer.headers.getlist("Referrer-Policy") == ["no-referrer"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_drill_page_may_use_its_inline_style(visitor):
    answer = visitor.client.get("/drill")
    assert "<style>" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "style-src 'sha256-" in policy
    assert "unsafe" not in policy
