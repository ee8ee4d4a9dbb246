"""Offers mails to the mail server and judges from its replies what becomes of each."""

from __future__ import annotations

import contextlib
import smtplib
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from ..settings import MailSettings
from .pending_replies import PendingReply
from .smtp_connection import Connection, RefusedError, Reply, UnsendableError, open_connection
from .smtp_hints import ENHANCED, explain, explain_recipients

CLOSING: Final = 421  # RFC 5321: the server is closing the connection
TOO_LARGE: Final = 552  # RFC 1870, as the reply to MAIL
TOO_MANY: Final = (452, 552)  # RFC 5321, 4.5.3.1.10, as the reply to RCPT
CONFIRMED_WITHIN: Final = 2.0  # seconds; a longer wait does not hold up the other mails


class Fate(Enum):
    """What becomes of a mail that was offered to the server.

    A failure is either about this mail, which then waits or fails alone, or about the server or
    the settings. In that case all mails wait, even after a permanent refusal: the settings will
    be fixed, and no mail may be lost until then.

    ==========================================  ================================================
    no connection, no trusted TLS, a refused    ALL_WAIT
    greeting, EHLO, STARTTLS or login
    the sender is refused, 4xx or 5xx           ALL_WAIT: it is the same for every mail
    the mail is too large: 552, or over SIZE    FAILED
    every recipient is refused for good         NOBODY: ADMINS is wrong
    some recipients are refused for good,       DELIVERED; the refused ones are dropped
    others have the mail
    some are refused for now, others have it    WAITS, for the refused ones only
    some are refused for now, nobody has it     WAITS, for all
    the data is refused with 5xx                FAILED
    the data is refused with 4xx                WAITS
    421, a broken connection, no SMTP reply     WAITS; the next mail gets a new connection
    no reply to the whole mail                  UNCONFIRMED: it may have been delivered
    ==========================================  ================================================
    """

    DELIVERED = auto()
    FAILED = auto()
    WAITS = auto()
    NOBODY = auto()
    ALL_WAIT = auto()
    UNCONFIRMED = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a mail, and why.

    ``later`` are the recipients who still need the mail, if others have it or may have it. The
    rest is for ``UNCONFIRMED``: ``again`` are the recipients who may not have it, ``pending`` is
    the reply, if it is still awaited, and ``is_cut`` says that the server closed the connection
    right after the mail, and that no recipient is known to have it.
    """

    fate: Fate
    words: str = ""
    later: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    pending: PendingReply[Verdict] | None = None
    is_cut: bool = False


@dataclass(slots=True)
class _Progress:
    """How far a mail has come, in one or more transactions."""

    recipients: tuple[str, ...]
    rest: tuple[str, ...]  # not offered yet
    accepted: tuple[str, ...] = ()  # in the current transaction
    delivered: bool = False  # to some, in an earlier one
    refused: dict[str, Reply] = field(default_factory=dict)

    def missing(self) -> tuple[str, ...]:
        """Return the recipients who may not have the mail and are not given up on."""
        if not self.delivered:
            return self.recipients
        wanted = {*self.accepted, *self.later()}
        return tuple(who for who in self.recipients if who in wanted)

    def later(self) -> tuple[str, ...]:
        """Return who is to be offered the mail again, apart from those just accepted."""
        put_off = {who for who, reply in self.refused.items() if not _is_final_at_rcpt(reply)}
        return tuple(who for who in self.recipients if who in put_off or who in self.rest)


class SmtpSession:
    """Sends mails over one connection, opened when the first one is sent; a context manager.

    ``pending`` says whether a :class:`Verdict` may hand over a connection whose server is slow to
    confirm a mail; otherwise the session itself waits for ``MAIL_TIMEOUT``.
    """

    def __init__(self, settings: MailSettings, *, pending: bool = False) -> None:
        self.settings = settings
        self._hands_over = pending
        self._connection: Connection | None = None

    def send(self, recipients: tuple[str, ...], content: bytes) -> Verdict:
        """Offer a mail to the server. Never raises for what the server does."""
        progress = _Progress(recipients, recipients)
        while progress.rest:
            try:
                reused = self._connection is not None
                connection = self._connection = self._connection or open_connection(self.settings)
            except Exception as error:  # such as a UnicodeError for an invalid host name
                return self._failed(progress, Fate.ALL_WAIT, error)
            try:
                verdict = self._transact(connection, progress, content)
            except Exception as error:
                if _closes(error):
                    self._drop()
                    if reused and not progress.accepted and progress.rest:
                        continue  # it closes after each mail, or when idle: not a failure
                else:
                    self._reset()
                return self._failed(progress, _fate(error), error)
            if verdict is not None:
                return verdict
        return self._finished(progress)

    def _transact(
        self, connection: Connection, progress: _Progress, content: bytes
    ) -> Verdict | None:
        """Offer the mail to as many of the rest as one transaction takes.

        Returns a verdict if the server does not confirm the mail. Raises any exception of the
        connection, and :exc:`RefusedError`.
        """
        progress.accepted = ()
        content, options = connection.sendable(content)
        _expect(2, "MAIL", connection.mail(self.settings.sender, options))
        accepted, refused, rest = _offer(connection, progress.rest)
        if accepted:
            _expect(3, "DATA", connection.docmd("DATA"))
        progress.accepted, progress.rest = accepted, rest
        progress.refused.update(refused)
        if not accepted:
            self._reset()
            return None
        connection.send(_dot_stuffed(content))
        return self._await_confirmation(connection, progress)

    def _await_confirmation(self, connection: Connection, progress: _Progress) -> Verdict | None:
        within = self.settings.timeout
        if self._hands_over:
            within = min(within, CONFIRMED_WITHIN)
        try:
            reply = connection.read_reply(within)
        except TimeoutError:
            self._connection = None
            if not self._hands_over:
                connection.close()
                return self._unconfirmed(progress)
            pending = PendingReply(connection, lambda reply: self._settle(progress, reply))
            return self._unconfirmed(progress, pending)
        except OSError:
            self._drop()
            return replace(self._unconfirmed(progress), is_cut=not progress.delivered)
        if not 200 <= reply.code < 600 or reply.code // 100 == 3:
            self._drop()
            return self._unconfirmed(progress)
        _expect(2, "CONTENT", reply)
        progress.delivered, progress.accepted = True, ()
        return None

    def _settle(self, progress: _Progress, reply: Reply | None) -> Verdict:
        """Return what becomes of a mail, from the reply that was awaited on its own connection."""
        if reply is None or not 200 <= reply.code < 600 or reply.code // 100 == 3:
            return self._unconfirmed(progress)
        if reply.code // 100 != 2:
            error = RefusedError("CONTENT", reply)
            return self._failed(progress, _fate(error), error)
        progress.delivered = True
        return self._finished(progress)

    def _unconfirmed(
        self, progress: _Progress, pending: PendingReply[Verdict] | None = None
    ) -> Verdict:
        place = f"{self.settings.server}:{self.settings.port}"
        words = (
            f"{place} received the whole mail and has not confirmed it. It may have been delivered."
        )
        return Verdict(Fate.UNCONFIRMED, words, progress.later(), progress.missing(), pending)

    def _failed(self, progress: _Progress, fate: Fate, error: Exception) -> Verdict:
        """Return what a failure means for a mail that some may have got already."""
        words = explain(error, self.settings)
        if not progress.delivered:
            return Verdict(fate, words)
        return Verdict(Fate.WAITS, words, progress.missing())

    def _finished(self, progress: _Progress) -> Verdict:
        """Return what the refusals of recipients mean, after everybody was offered the mail."""
        words, later = explain_recipients(progress.refused, self.settings), progress.later()
        if not progress.delivered:
            # No recipient is given up on before another one has the mail.
            return Verdict(Fate.WAITS if later else Fate.NOBODY, words)
        return Verdict(Fate.WAITS if later else Fate.DELIVERED, words, later)

    def _reset(self) -> None:
        """End a transaction, so that the connection can be used for the next mail."""
        if self._connection is None:
            return
        try:
            self._connection.docmd("RSET")
        except (OSError, smtplib.SMTPException):
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> SmtpSession:
        return self

    def __exit__(self, *error: object) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._connection.quit()
            self._drop()


def _offer(
    connection: Connection, recipients: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Reply], tuple[str, ...]]:
    """Return who is accepted, who is refused, and who is left for a further transaction."""
    accepted: list[str] = []
    refused: dict[str, Reply] = {}
    for position, address in enumerate(recipients):
        reply = Reply(*connection.rcpt(address))
        if reply.code // 100 == 2:
            accepted.append(address)
        elif reply.code == CLOSING or not 400 <= reply.code < 600:
            raise RefusedError("RCPT", reply)
        elif accepted and _is_too_many(reply):
            return tuple(accepted), refused, recipients[position:]
        else:
            refused[address] = reply
    return tuple(accepted), refused, ()


def _expect(kind: int, command: str, answer: tuple[int, bytes]) -> None:
    """Raise :exc:`RefusedError` unless the reply's code begins with the digit ``kind``."""
    if answer[0] // 100 != kind:
        raise RefusedError(command, Reply(*answer))


def _fate(error: Exception) -> Fate:
    match error:
        case UnsendableError():
            return Fate.FAILED
        case RefusedError() if _closes(error):
            return Fate.WAITS
        case RefusedError(command="MAIL"):
            return Fate.FAILED if error.reply.code == TOO_LARGE else Fate.ALL_WAIT
        case RefusedError():
            return Fate.FAILED if error.reply.code // 100 == 5 else Fate.WAITS
    return Fate.WAITS


def _closes(error: Exception) -> bool:
    """Return whether the connection cannot be used after this."""
    match error:
        case UnsendableError():
            return False
        case RefusedError():
            return error.reply.code == CLOSING or not 400 <= error.reply.code < 600
    return True


def _is_too_many(reply: Reply) -> bool:
    """Return whether a transaction takes no more recipients, as the reply to RCPT says."""
    enhanced = ENHANCED.match(reply.text.decode("utf-8", "replace"))
    if enhanced is not None:
        return enhanced[1][1:] == ".5.3"
    return reply.code in TOO_MANY


def _is_final_at_rcpt(reply: Reply) -> bool:
    """Return whether a recipient was refused for good; "too many" is for this transaction only."""
    return reply.code // 100 == 5 and not _is_too_many(reply)


def _dot_stuffed(content: bytes) -> bytes:
    """Return the content as DATA sends it, with the dot at its end (RFC 5321, 4.5.2)."""
    lines = content.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    return stuffed + b"\r\n.\r\n"
