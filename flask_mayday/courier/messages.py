"""Puts each message into the spool, for mail and for the webhook, in one transaction."""

from __future__ import annotations

from email.utils import make_msgid
from typing import Final

from ..mail.draft import Draft
from ..mail.message import Envelope, render
from ..settings import MailSettings, WebhookSettings
from ..spool.mailbox import Mailbox
from ..spool.posts import add_post
from ..spool.stored_mail import NewMail

OFF: Final = "off"  # the state of a mail if there is no mail server


class MessageWriter:
    """Adds messages to ``mailbox``, one row for each channel that is set."""

    def __init__(self, mailbox: Mailbox, *, mail: MailSettings, webhook: WebhookSettings) -> None:
        self.mailbox = mailbox
        self.mail = mail
        self.webhook = webhook

    def add(
        self,
        kind: str,
        draft: Draft,
        now: float,
        *,
        fingerprint: str | None = None,
        source: str = "",
        count: int | None = None,
        identity: str = "",
    ) -> int:
        """Add a message, within a transaction; return the id of its mail.

        If there is no mail server, the mail is only a record of what the webhook gets. ``count``
        is how many errors it adds to the totals, by default all in the draft: a notice adds none.
        ``identity`` names a message that any machine may make: each gives it the same Message-ID,
        and a thread id made from the fingerprint, because a machine may not know the thread's
        first mail.
        """
        message_id, thread = self._ids(fingerprint, identity)
        envelope = Envelope(self.mail.sender, self.mail.admins, message_id, thread, now)
        total = draft.count if count is None else count
        if self.webhook.url:
            key = message_id.strip("<>")
            message = draft.to_post(key, kind, now)
            add_post(self.mailbox, key, kind, fingerprint, now, total, message)
        return self.mailbox.add_mail(
            NewMail(
                message_id=message_id,
                kind=kind,
                fingerprint=fingerprint,
                created=now,
                count=total,
                subject=draft.subject,
                content=render(draft, envelope),
                recipients=self.mail.admins,
                state="waiting" if self.mail.server else OFF,
                source=source,
            )
        )

    def _ids(self, fingerprint: str | None, identity: str) -> tuple[str, str | None]:
        """Return the Message-ID of a message, and that of its thread."""
        if identity:
            return self.shared_id(identity), self.shared_id(fingerprint) if fingerprint else None
        thread = self.mailbox.first_message_id(fingerprint) if fingerprint else None
        return make_msgid(domain=self.mail.sender.rpartition("@")[2]), thread

    def shared_id(self, identity: str) -> str:
        """Return the Message-ID that every machine gives to the message ``identity``."""
        return f"<{identity}@{self.mail.sender.rpartition('@')[2]}>"
