"""Talks to the mail server, judges its answers, and says in plain words what is wrong."""

from __future__ import annotations

import contextlib
import io
import smtplib
import socket
import ssl
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ..redaction.redactor import Redactor
from ..settings import MailSettings

CLOSING: Final = 421  # RFC 5321: the server is closing the connection
LOG_IN_FIRST: Final = 530  # RFC 4954, RFC 3207: it wants a log-in, or TLS
TOO_LARGE: Final = 552  # RFC 1870
ANSWER_MAXIMUM: Final = 64 << 10  # bytes
WORDS_MAXIMUM: Final = 500  # characters of what a server says

Refusals = dict[str, tuple[int, bytes]]


class Fate(Enum):
    """What becomes of a mail that the server was offered.

    It is either about this mail, which then waits or fails alone, or about the server or our
    settings. Then all mails wait, however final the answer is: somebody will mend it, and no
    mail must be lost for it.

    ==========================================  ================================================
    no connection, no trusted TLS, a refused    all wait (:func:`connect` raises)
    greeting, EHLO, STARTTLS or log-in
    the sender is refused, 4xx or 5xx           all wait: he is the same for all mails
    … with 552, too large                       as data that is refused with 5xx
    every recipient is refused for good         all wait: ADMINS is wrong
    some are, and others have it                they are given up
    some are for now, and others have it        the mail waits, for them only
    nobody has it, and some are for now         the mail waits, for all
    the data is refused, 5xx                    the mail fails, where the server has taken another
                                                since; until then it is the server, and it waits
    … 4xx                                       the mail waits
    421, a line that breaks, no answer, an      the mail waits; the next one is tried on another
    answer that means nothing                   connection
    ==========================================  ================================================

    After two mails in a row that wait, all do.
    """

    DELIVERED = auto()
    FAILED = auto()
    WAITS = auto()
    BROKEN_OFF = auto()
    NOBODY = auto()  # no recipient will ever be accepted
    ALL_WAIT = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a mail, why, and who alone is to get it later, where others have it."""

    fate: Fate
    words: str = ""
    later: tuple[str, ...] = ()


class SmtpSession:
    """One SMTP session at a time, opened when the first mail is sent; a context manager."""

    def __init__(self, settings: MailSettings) -> None:
        self.settings = settings
        self._server: smtplib.SMTP | None = None

    def send(self, recipients: tuple[str, ...], content: bytes) -> Verdict:
        """Offer a mail to the server. Whatever that does, the verdict says what follows."""
        try:
            server = self._server = self._server or connect(self.settings)
        except Exception as error:  # a name that is none is a UnicodeError, for one
            return Verdict(Fate.ALL_WAIT, explain(error, self.settings))
        verdict = _send(server, self.settings, recipients, content)
        if verdict.fate is Fate.BROKEN_OFF:
            server.close()
            self._server = None
        return verdict

    def __enter__(self) -> SmtpSession:
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._server.quit()
            self._server.close()


def connect(settings: MailSettings) -> smtplib.SMTP:
    """Return a connection that is ready to send: greeted, encrypted and logged in as set.

    Raises :exc:`OSError`, :exc:`smtplib.SMTPException`, and :exc:`ValueError` for a name or a
    password that cannot be sent.
    """
    host, port, timeout = str(settings.server), settings.port, settings.timeout
    server: smtplib.SMTP
    if settings.use_ssl:
        context = ssl.create_default_context()
        server = _BoundedTLS(host, port, timeout=timeout, context=context)
    else:
        server = _Bounded(host, port, timeout=timeout)
    try:
        if settings.use_tls:
            server.starttls(context=ssl.create_default_context())
        if settings.username:
            server.login(settings.username, settings.password or "")
        server.ehlo_or_helo_if_needed()
    except BaseException:
        server.close()
        raise
    return server


def _send(
    server: smtplib.SMTP, settings: MailSettings, recipients: tuple[str, ...], content: bytes
) -> Verdict:
    try:
        refused = server.sendmail(settings.sender, recipients, content)
    except smtplib.SMTPRecipientsRefused as error:
        return _judge_recipients(error.recipients, Fate.NOBODY, settings)
    except Exception as error:
        return Verdict(_judge(error), explain(error, settings))
    return _judge_recipients(refused, Fate.DELIVERED, settings)


def _judge_recipients(refused: Refusals, otherwise: Fate, settings: MailSettings) -> Verdict:
    words = explain(smtplib.SMTPRecipientsRefused(refused), settings) if refused else ""
    if any(code == CLOSING for code, _ in refused.values()):
        return Verdict(Fate.BROKEN_OFF, words)  # and nobody has got it, nor those not refused
    later = tuple(who for who, (code, _) in refused.items() if not _is_final(code))
    if not later:
        return Verdict(otherwise, words)
    # Nobody is given up before somebody has the mail.
    return Verdict(Fate.WAITS, words, () if otherwise is Fate.NOBODY else later)


def _judge(error: Exception) -> Fate:
    match error:
        case smtplib.SMTPResponseException(smtp_code=code) if not 400 <= code < 600:
            return Fate.BROKEN_OFF
        case smtplib.SMTPResponseException(smtp_code=421):
            return Fate.BROKEN_OFF
        case smtplib.SMTPSenderRefused(smtp_code=code):
            return Fate.FAILED if code == TOO_LARGE else Fate.ALL_WAIT
        case smtplib.SMTPDataError(smtp_code=code):
            return Fate.FAILED if _is_final(code) else Fate.WAITS
    return Fate.BROKEN_OFF


def _is_final(code: int) -> bool:
    return code // 100 == 5


def explain(error: Exception, settings: MailSettings) -> str:
    """Return what went wrong and which setting to look at."""
    return _clean(_explained(error, settings), settings)


def _explained(error: Exception, settings: MailSettings) -> str:
    place = f"{settings.server}:{settings.port}"
    match error:
        case smtplib.SMTPAuthenticationError():
            return (
                f"{place} refuses the log-in: check MAIL_USERNAME and MAIL_PASSWORD. "
                f"It says: {said(error)}"
            )
        case smtplib.SMTPResponseException(smtp_code=530):
            return (
                f"{place} wants a log-in or encryption first: check MAIL_USERNAME, MAIL_PASSWORD "
                f"and MAIL_USE_TLS. It says: {said(error)}"
            )
        case smtplib.SMTPSenderRefused():
            return (
                f"{place} refuses the sender {settings.sender}: check MAIL_FROM. "
                f"It says: {said(error)}"
            )
        case smtplib.SMTPRecipientsRefused():
            return f"{place} refuses recipients: check ADMINS. It says of {said(error)}"
        case smtplib.SMTPDataError():
            return f"{place} refuses the mail for what is in it. It says: {said(error)}"
        case smtplib.SMTPResponseException():
            return f"{place} turns us away. It says: {said(error)}"
        case smtplib.SMTPNotSupportedError() if "AUTH" in str(error):
            return (
                f"{place} offers no log-in, or only once it is encrypted: check MAIL_USERNAME "
                "and MAIL_USE_TLS."
            )
        case smtplib.SMTPNotSupportedError():
            return (
                f"{place} does not offer STARTTLS, and nothing is sent in the clear: check "
                "MAIL_PORT and MAIL_USE_TLS, or use MAIL_USE_SSL=1 for port 465."
            )
    return _explained_line(error, settings, place)


def _explained_line(error: Exception, settings: MailSettings, place: str) -> str:
    """Explain why there is no connection, or no longer one."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and error.__context__ is not None:
        error = error.__context__ if isinstance(error.__context__, OSError) else error
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"The certificate of {place} cannot be trusted: {error.verify_message}. Check that "
                "MAIL_SERVER is the name in it; SSL_CERT_FILE names the file of a CA of your own."
            )
        case ssl.SSLError() if settings.use_ssl:
            return (
                f"{place} does not speak TLS from the first byte: use MAIL_USE_TLS=1 for "
                "STARTTLS (port 587), MAIL_USE_SSL=1 only for port 465."
            )
        case socket.gaierror():
            return (
                f"There is no machine called {settings.server} ({error.strerror}): check "
                "MAIL_SERVER."
            )
        case UnicodeError():
            return (
                f"{settings.server} is no name of a machine, or the log-in has other than "
                "ASCII characters: check MAIL_SERVER, MAIL_USERNAME and MAIL_PASSWORD."
            )
        case ConnectionRefusedError():
            return f"Nothing listens at {place}: check MAIL_PORT, and whether the server runs."
        case TimeoutError():
            return (
                f"{place} has not answered within {settings.timeout:g} s: check MAIL_PORT, a "
                "firewall, or whether it wants TLS from the first byte (MAIL_USE_SSL=1)."
            )
        case smtplib.SMTPServerDisconnected():
            return f"{place} has closed the connection: check MAIL_PORT and the server's own log."
    return f"{place} cannot be used: {said(error)}"


def said(error: BaseException) -> str:
    """Return a server's own words, or the error's."""
    if isinstance(error, smtplib.SMTPResponseException):
        return _words(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{who}: {_words(*reply)}" for who, reply in error.recipients.items())
    return f"{type(error).__name__}: {error}"


def _words(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {words}" if code >= 0 else f"no SMTP, but {words!r}"


def _clean(text: str, settings: MailSettings) -> str:
    """Return a text that a server may have written, for a log, a terminal and the spool."""
    line = "".join(char if char.isprintable() else " " for char in text)
    redactor = Redactor([settings.password] if settings.password else []).bind(None)
    return redactor.text(" ".join(line.split()))[:WORDS_MAXIMUM]


class _Bounded(smtplib.SMTP):
    """A conversation each of whose answers is there, whole, within the timeout.

    smtplib's own is for each piece of an answer, so that a server which sends a byte now and then
    holds its client for ever, and one which never comes to an end fills its memory.
    """

    timeout: float
    sock: socket.socket | None
    file: io.BufferedReader | None

    def getreply(self) -> tuple[int, bytes]:
        """Return the code and the text of the next answer."""
        if self.sock is not None:
            if self.file is None:
                self._answers = _Answers(self.sock)
                self.file = io.BufferedReader(self._answers)
            self._answers.expect(self.timeout)
        try:
            return super().getreply()
        finally:
            if self.sock is not None:
                self.sock.settimeout(self.timeout)


class _BoundedTLS(_Bounded, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""


class _Answers(io.RawIOBase):
    """What a server says, each answer until a moment and up to a length."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.until = 0.0
        self.room = 0

    def expect(self, seconds: float) -> None:
        """Begin to read the next answer."""
        self.until = time.monotonic() + seconds
        self.room = ANSWER_MAXIMUM

    def readable(self) -> bool:
        """Return true, as :class:`io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read what is there of the answer. Raises :exc:`OSError`."""
        remaining = self.until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self.sock.settimeout(remaining)
        count = self.sock.recv_into(buffer)
        self.room -= count
        if self.room < 0:
            raise OSError("an answer without an end")
        return count
