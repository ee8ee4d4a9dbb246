"""How delivery from a spool is going, for health checks."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime

from ..report.wording import counted
from ..settings import MailSettings, WebhookSettings
from ..spool.inventory import STUCK, mail_state, webhook_state
from ..spool.outbox import Outbox
from .lease import expired_since


def delivery_state(outbox: Outbox, mail: MailSettings, webhook: WebhookSettings) -> dict[str, str]:
    """Return "ok" or what is wrong, for ``mail``, ``spool`` and, if one is set, ``webhook``."""
    mails, posts = _trouble(outbox, has_webhook=webhook.url is not None)
    found = {
        "mail": "off" if mail.server is None else mails or "ok",
        "spool": outbox.trouble() or "ok",
    }
    return found | ({"webhook": posts or "ok"} if webhook.url else {})


def _trouble(outbox: Outbox, *, has_webhook: bool) -> tuple[str, str]:
    """Return what is wrong with mail and with the webhook, each empty if all is well."""
    try:
        expired = expired_since(outbox.folder)
        since, refused, _ = mail_state(outbox.path)
        posts_since = webhook_state(outbox.path) if has_webhook else None
    except (sqlite3.Error, OSError) as error:
        unknown = f"unknown, the spool cannot be read: {error}"
        return unknown, unknown
    frozen = expired and (
        "not being delivered: the process that sends mail has not responded since "
        f"{_moment(expired)}"
    )
    failed = f"{counted(refused, 'mail')} refused for good" if refused else ""
    return _stuck(since) or frozen or failed, _stuck(posts_since) or frozen or ""


def _stuck(since: float | None) -> str:
    is_long = since is not None and time.time() - since >= STUCK
    return f"stuck since {_moment(since)}" if since is not None and is_long else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
