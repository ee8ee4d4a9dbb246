"""Delivers to the webhook: posts the messages that are due, and retries those that fail."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ..mail.draft import draft_notice
from ..report.wording import printable_line
from ..settings import AppSettings, WebhookSettings
from ..spool.database import Database
from ..spool.posts import (
    due_posts,
    finish_post,
    has_posted_since,
    postpone_all_posts,
    postpone_new_posts,
    postpone_post,
    replace_message,
)
from .backoff import backoff
from .http_request import HttpReply, send_request
from .webhook_formats import Message, encode, without_outside_text

TIMEOUT: Final = 10.0  # seconds for one post
MAX_WAIT: Final = 3600.0  # seconds; the longest wait that a receiver may ask for
DOWN_AFTER: Final = 2  # messages in a row that the receiver rejects before it counts as down
SECRET_LENGTH: Final = 8  # characters; shorter parts of the address are not masked
CONTENT_STATUS: Final = frozenset({400, 413, 415, 422})
HINTS: Final = {
    401: "check the token in REPORT_WEBHOOK_URL",
    403: "check the token in REPORT_WEBHOOK_URL",
    404: "check REPORT_WEBHOOK_URL: the receiver does not know this address",
    410: "check REPORT_WEBHOOK_URL: this webhook was deleted",
    429: "the receiver asks for fewer posts",
}

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of a post."""

    DELIVERED = auto()
    REDUCED = auto()  # refused for its content: posted again without text from outside
    WAITS = auto()  # this message waits
    ALL_WAIT = auto()  # the receiver cannot be reached


class WebhookDelivery:
    """Posts what is due in ``database``; it stops between two messages once ``stopping`` is set.

    A message is delivered once the receiver has answered 2xx. It may arrive twice, with the same
    ``Idempotency-Key``. Whatever the receiver answers, no message is given up.
    """

    def __init__(
        self,
        database: Database,
        settings: WebhookSettings,
        stopping: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.settings = settings
        self.stopping = stopping
        self.clock = clock
        self.failures = 0  # of the receiver, in a row
        self._refused = 0  # messages in a row that it did not take

    def run(self, now: float, timeout: float = TIMEOUT) -> None:
        """Post what is due at the time ``now``; ``timeout`` is for each message, in seconds."""
        if self.settings.url is None:
            return
        if self.failures:
            postpone_new_posts(self.database)
        for post in due_posts(self.database, now, MAX_WAIT):
            if self.stopping.is_set():
                return
            outcome, reason, wait = post_message(self.settings, post.key, post.message, timeout)
            if outcome is Outcome.REDUCED and not has_posted_since(self.database, post):
                outcome = Outcome.WAITS  # perhaps it accepts nothing: the format may be wrong
            if outcome is Outcome.DELIVERED:
                finish_post(self.database, post)
                self._refused = self.failures = 0
                continue
            if outcome is Outcome.REDUCED:
                replace_message(self.database, post, without_outside_text(post.message))
                logger.warning("The webhook refused a message for its content: %s", reason)
                continue
            self._refused += 1
            until = self.clock() + max(wait, backoff(post.tries + 1))
            postpone_post(self.database, post, until, reason)
            if outcome is Outcome.ALL_WAIT or self._refused >= DOWN_AFTER:
                self._postpone_all(reason, wait)
                return

    def _postpone_all(self, reason: str, wait: float) -> None:
        self.failures += 1
        wait = max(wait, backoff(self.failures))
        postpone_all_posts(self.database, self.clock() + wait, reason)
        logger.warning("Nothing can be posted to the webhook, next try in %.0f s: %s", wait, reason)


def post_message(
    settings: WebhookSettings, key: str, message: Message, timeout: float
) -> tuple[Outcome, str, float]:
    """Post a message; return the outcome, the reason, and how long to wait, in seconds."""
    body, headers = encode(message, settings.format)
    headers |= {"Idempotency-Key": key, "User-Agent": "flask-mayday"}
    try:
        reply = send_request(
            "POST",
            settings.url or "",
            body=body,
            headers=headers,
            timeout=timeout,
            allow=settings.allow,
        )
    except OSError as error:
        return Outcome.ALL_WAIT, f"{settings.host}: {error}", 0.0
    outcome, reason, wait = _outcome(reply, is_reduced=bool(message.get("reduced")))
    for secret in settings.secret_values:  # some servers repeat the path
        if len(secret) >= SECRET_LENGTH:
            reason = reason.replace(secret, "***")
    return outcome, reason, wait


def post_test(settings: WebhookSettings, app: AppSettings) -> str:
    """Post a test message now; return why that failed, or an empty string."""
    draft = draft_notice(
        app,
        "Test message: error reports are reaching this webhook",
        "Sent by “flask mayday reports test”. Nothing is wrong.",
    )
    key = uuid.uuid4().hex
    return post_message(settings, key, draft.to_post(key, "test", time.time()), TIMEOUT)[1]


def _outcome(reply: HttpReply, *, is_reduced: bool) -> tuple[Outcome, str, float]:
    status = reply.status
    if 200 <= status < 300:
        return Outcome.DELIVERED, "", 0.0
    reason = f"answered {status} {printable_line(reply.text)[:200]}".rstrip()
    if status in CONTENT_STATUS and not is_reduced:
        return Outcome.REDUCED, reason, 0.0
    if 300 <= status < 400:
        return Outcome.ALL_WAIT, f"{reason}: redirects are not followed", 0.0
    if hint := HINTS.get(status):
        return Outcome.ALL_WAIT, f"{reason}: {hint}", _retry_after(reply)
    return Outcome.WAITS, reason, _retry_after(reply)


def _retry_after(reply: HttpReply) -> float:
    headers = {name.lower(): value.strip() for name, value in reply.headers.items()}
    value = headers.get("retry-after", "")
    return min(float(value), MAX_WAIT) if value.isdecimal() and len(value) < 10 else 0.0
