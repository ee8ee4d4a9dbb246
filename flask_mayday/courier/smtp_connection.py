"""A connection to the mail server: bounded replies, TLS, login, and content the server can take."""

from __future__ import annotations

import base64
import hmac
import quopri
import re
import smtplib
import ssl
import time
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from email.policy import SMTP
from typing import Final, NamedTuple

from ..settings import MailSettings

REPLY_LIMIT: Final = 64 << 10  # bytes
LINE_LIMIT: Final = 998  # bytes, without the line's end (RFC 5321, 4.5.3.1.6)
LONG_LINE: Final = re.compile(rb"[^\n]{%d}" % (LINE_LIMIT + 2))
# One or more lines "250-text", of which the last has no hyphen after the code.
REPLY: Final = re.compile(rb"(?:[0-9]{3}-[^\n]*\n)*(?![0-9]{3}-)[^\n]*\n")
PLAIN_7BIT: Final = SMTP.clone(cte_type="7bit", max_line_length=LINE_LIMIT)

Answer = Callable[[bytes], bytes]  # to a challenge of the server, when logging in


class Reply(NamedTuple):
    """What the server answered; the code is -1 if that was not an SMTP reply."""

    code: int
    text: bytes

    def __str__(self) -> str:
        words = self.text.decode("utf-8", "replace")
        return f"{self.code} {words}" if self.code >= 0 else f"no SMTP reply, but {words!r}"


class RefusedError(Exception):
    """The server refused a command; the greeting counts as ``CONNECT``, the mail as ``CONTENT``."""

    def __init__(self, command: str, reply: Reply) -> None:
        super().__init__(command, reply)
        self.command = command
        self.reply = reply


class NotOfferedError(Exception):
    """The server does not offer an extension or a login mechanism that the settings need."""

    def __init__(self, extension: str, offered: str) -> None:
        super().__init__(extension, offered)
        self.extension = extension
        self.offered = offered


class UnsendableError(Exception):
    """The server has announced that it cannot accept such a mail; the message says why."""


class Connection(smtplib.SMTP):
    """An SMTP connection on which every reply must arrive whole, within the timeout.

    The standard library's timeout is for each piece of a reply, and a reply may have any number
    of lines: a server that sends a byte now and then would hold its client forever.
    """

    _unread: bytes = b""

    def getreply(self) -> Reply:
        """Return the next reply. Raises what :meth:`read_reply` raises."""
        return self.read_reply(self.timeout)

    def read_reply(self, seconds: float) -> Reply:
        """Return the next reply, waiting for ``seconds``.

        Raises :exc:`TimeoutError`, after which it may be called again: what has arrived is kept.
        Raises :exc:`OSError` if the connection is closed or the reply has no end.
        """
        deadline = time.monotonic() + seconds
        while (found := REPLY.match(self._unread)) is None:
            if len(self._unread) > REPLY_LIMIT:
                raise OSError("the server's reply has no end")
            self._receive(deadline - time.monotonic())
        self._unread = self._unread[found.end() :]
        lines = found[0].splitlines()
        if not lines[-1][:3].isdigit():
            return Reply(-1, lines[-1].strip())
        return Reply(int(lines[-1][:3]), b"\n".join(line[4:].strip() for line in lines))

    def _receive(self, seconds: float) -> None:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        self.sock.settimeout(max(seconds, 0.001))  # 0 would mean: do not block
        try:
            received = self.sock.recv(4096)
        finally:
            self.sock.settimeout(self.timeout)
        if not received:
            self.close()
            raise smtplib.SMTPServerDisconnected("the server closed the connection")
        self._unread += received

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Change to TLS with STARTTLS. Raises :exc:`NotOfferedError` and :exc:`RefusedError`."""
        if not self.has_extn("starttls"):
            raise NotOfferedError("STARTTLS", "")
        try:
            self.starttls(context=context)
        except smtplib.SMTPResponseException as error:
            raise RefusedError("STARTTLS", _reply(error)) from error
        self._unread = b""  # what came before the encryption may be forged (RFC 3207)
        self.say_hello()

    def say_hello(self) -> None:
        """Send EHLO, or HELO to a server that knows no extensions. Raises :exc:`RefusedError`."""
        try:
            self.ehlo_or_helo_if_needed()
        except smtplib.SMTPHeloError as error:
            raise RefusedError("EHLO", _reply(error)) from error

    def log_in(self, username: str, password: str) -> None:
        """Log in with the first mechanism that the server offers and accepts.

        User name and password are sent as UTF-8 (RFC 4616). Raises :exc:`NotOfferedError` and
        :exc:`RefusedError`.
        """
        offered = self.esmtp_features.get("auth", "").upper().split()
        reply = None
        for mechanism, exchange in MECHANISMS.items():
            if mechanism not in offered:
                continue
            try:
                steps = exchange(_utf8(username), _utf8(password))
            except ValueError:  # a host in FIPS mode has no MD5
                continue
            reply = self._authenticate(mechanism, *steps)
            if reply.code in (235, 503):  # 503: logged in already
                return
        if reply is None:
            raise NotOfferedError("AUTH", " ".join(offered))
        raise RefusedError("AUTH", reply)

    def _authenticate(self, mechanism: str, initial: bytes, *answers: Answer) -> Reply:
        command = f"{mechanism} {_base64(initial)}" if initial else mechanism
        reply = Reply(*self.docmd("AUTH", command))
        for answer in answers:
            if reply.code != 334:
                break
            challenge = base64.b64decode(reply.text + b"==")
            reply = Reply(*self.docmd(_base64(answer(challenge))))
        return reply

    def sendable(self, content: bytes) -> tuple[bytes, list[str]]:
        """Return the content as this server can take it, and the parameters of MAIL FROM.

        Raises :exc:`UnsendableError`.
        """
        eight_bit = self.has_extn("8bitmime") and not content.isascii()
        if (not eight_bit and not content.isascii()) or LONG_LINE.search(content):
            content = to_7bit(content)
            eight_bit = False
        options = ["BODY=8BITMIME"] if eight_bit else []
        if self.has_extn("size"):
            options.append(f"SIZE={len(content)}")
            limit = self.esmtp_features["size"]
            if limit.isdigit() and 0 < int(limit) < len(content):
                raise UnsendableError(
                    f"takes mails of at most {limit} bytes, and this one has {len(content)}"
                )
        return content, options


class TlsConnection(Connection, smtplib.SMTP_SSL):
    """A :class:`Connection` that is encrypted from the first byte (``MAIL_USE_SSL``)."""


def open_connection(settings: MailSettings) -> Connection:
    """Return a connection that is ready to send: greeted, encrypted and logged in as configured.

    Raises :exc:`RefusedError`, :exc:`NotOfferedError`, :exc:`OSError`, and :exc:`ValueError` if
    the server's name is not a host name.
    """
    host, port, timeout = str(settings.server), settings.port, settings.timeout
    connection: Connection
    try:
        if settings.use_ssl:
            connection = TlsConnection(
                host, port, settings.helo_name, timeout=timeout, context=tls_context(settings)
            )
        else:
            connection = Connection(host, port, settings.helo_name, timeout=timeout)
    except smtplib.SMTPConnectError as error:
        raise RefusedError("CONNECT", _reply(error)) from error
    try:
        connection.say_hello()
        if settings.use_tls:
            connection.encrypt(tls_context(settings))
        if settings.username:
            connection.log_in(settings.username, settings.password or "")
    except BaseException:
        connection.close()
        raise
    return connection


def tls_context(settings: MailSettings) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and those in ``MAIL_CA_FILE``."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context


def to_7bit(content: bytes) -> bytes:
    """Return a mail whose parts are quoted-printable, so that any server can take it.

    Raises :exc:`UnsendableError` if that is not possible.
    """
    message: Message = message_from_bytes(content, policy=PLAIN_7BIT)
    for part in message.walk():
        if part.is_multipart():
            if "Content-Transfer-Encoding" in part:
                part.replace_header("Content-Transfer-Encoding", "7bit")
            continue
        body = bytes(part.get_payload(decode=True) or b"")
        del part["Content-Transfer-Encoding"]
        part["Content-Transfer-Encoding"] = "quoted-printable"
        part.set_payload(quopri.encodestring(body.replace(b"\r\n", b"\n")).decode("ascii"))
    result = message.as_bytes()
    if not result.isascii() or LONG_LINE.search(result):
        raise UnsendableError(
            "takes no 8-bit data or lines of over 998 bytes, and this mail needs them"
        )
    return result


def _plain(username: bytes, password: bytes) -> tuple[bytes, *tuple[Answer, ...]]:
    return (b"\0" + username + b"\0" + password,)


def _login(username: bytes, password: bytes) -> tuple[bytes, *tuple[Answer, ...]]:
    return (b"", lambda _: username, lambda _: password)


def _cram_md5(username: bytes, password: bytes) -> tuple[bytes, *tuple[Answer, ...]]:
    digest = hmac.new(password, digestmod="md5")

    def answer(challenge: bytes) -> bytes:
        digest.update(challenge)
        return username + b" " + digest.hexdigest().encode()

    return (b"", answer)


# The login mechanisms in the order of preference: each returns what goes with the AUTH command,
# and a function for each challenge of the server.
MECHANISMS: Final = {"CRAM-MD5": _cram_md5, "PLAIN": _plain, "LOGIN": _login}


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _reply(error: smtplib.SMTPResponseException) -> Reply:
    text = error.smtp_error
    return Reply(error.smtp_code, text if isinstance(text, bytes) else text.encode())
