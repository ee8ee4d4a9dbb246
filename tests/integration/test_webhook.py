"""The webhook and the states of errors with a whole server: workers, threads, commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.webhook_server import WebhookServer


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    server = WebhookServer()
    yield server
    server.close()


@pytest.fixture
def settings_of_webhook(webhook: WebhookServer) -> dict[str, object]:
    return {"REPORT_WEBHOOK_URL": webhook.url, "WEBHOOK_ALLOW": "127.0.0.1/32"}


def test_each_error_is_posted_once_and_survives_a_restart_while_the_receiver_fails(
    gunicorn: Callable[..., Any],
    webhook: WebhookServer,
    settings_of_webhook: dict[str, object],
    flask: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    """Without a mail server."""
    webhook.answer = 500
    server = gunicorn(**settings_of_webhook)
    for number in range(10):
        assert server.fail(f"kind {number}").status == 500
    wait_until(lambda: webhook.tried, "a try")
    server.stop()
    assert webhook.accepted == []
    server = gunicorn(**settings_of_webhook, WEB_CONCURRENCY=3)
    server.fail("kind 10")
    webhook.answer = 200
    flask("reports", "retry", **settings_of_webhook)
    wait_until(lambda: sum(one["count"] for one in webhook.messages()) == 11, "every error")
    assert len(webhook.messages()) == 11
    assert not re.search("a-secret-token", server.output)


def test_a_resolved_error_comes_back_and_a_muted_one_is_silent(
    gunicorn: Callable[..., Any],
    smtp_server: Any,
    webhook: WebhookServer,
    settings_of_webhook: dict[str, object],
    flask: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    settings = {**smtp_server.settings, **settings_of_webhook}
    server = gunicorn(**settings, RELEASE="1.4", REPORT_WINDOW=1)
    server.fail("broken")
    (mail,) = wait_until(lambda: smtp_server.mails, "the mail")
    fingerprint = mail["X-Error-Fingerprint"]
    done = flask("reports", "resolve", fingerprint, **settings)
    assert "in release 1.4" in done.stdout, done.stderr
    answer = server.fail("broken")
    (back,) = wait_until(lambda: smtp_server.with_request_id(answer.request_id), "the second")
    assert back["Subject"].startswith("[Microblog] back: DrillError: broken")
    assert "release 1.4; back in release 1.4" in back.get_body(("plain",)).get_content()

    assert flask("reports", "mute", fingerprint[:6], "--for", "1h", **settings).returncode == 0
    for _ in range(5):
        server.fail("broken")
    other = server.fail("another")
    wait_until(lambda: smtp_server.with_request_id(other.request_id), "the other error")
    listed = flask("reports", "errors", **settings).stdout
    assert re.search(rf"{fingerprint}  muted +7 errors \(5 hidden\), 2 mails", listed)
    assert smtp_server.total() == 3
    wait_until(lambda: len(webhook.messages()) == 3, "the same on the webhook")
