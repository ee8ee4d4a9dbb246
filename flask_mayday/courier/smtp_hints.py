"""Explains what a mail server refused, and what to change, by command and reply code."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

from ..redaction.redactor import Redactor
from ..report.wording import printable_line
from ..settings import MailSettings
from .smtp_connection import NotOfferedError, RefusedError, Reply, UnsendableError

LENGTH_LIMIT: Final = 500  # characters of an explanation
ENHANCED: Final = re.compile(r"\s*([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")  # RFC 3463


class Hint(NamedTuple):
    """What a refusal means: a row applies if all of its regular expressions match.

    ``commands``, ``codes`` and ``enhanced`` must match whole; ``words`` is searched for in the
    server's text, for codes that servers use for many things. ``{sender}`` in the explanation is
    MAIL_FROM.
    """

    commands: str
    codes: str
    enhanced: str
    words: str
    explanation: str


ANY: Final = ".*"
LIMITS: Final = (
    "limits how much mail it accepts; mails wait and are sent later. If this continues, lower "
    "REPORT_MAILS_PER_HOUR or ask the server's administrator"
)
HELO: Final = (
    "refused the name that this client greets with: set MAIL_HELO_NAME to a full host name, such "
    "as www.example.com, that the server can look up"
)
LOGIN_FIRST: Final = (
    "requires a login or encryption first: set MAIL_USERNAME and MAIL_PASSWORD, and MAIL_USE_TLS=1 "
    "for port 587 or MAIL_USE_SSL=1 for port 465"
)
RELAYING: Final = (
    "does not relay for this client: set MAIL_USERNAME and MAIL_PASSWORD to log in, use the mail "
    "server of the addresses in ADMINS, or let its administrator allow this address"
)
NOT_ALLOWED_FROM: Final = (
    "may not send for the domain of {sender} (SPF, DKIM, DMARC): set MAIL_FROM to an address of a "
    "domain that MAIL_SERVER sends for"
)
BLOCKED: Final = (
    "refuses mail from this machine's address (a block list, or no reverse DNS name): send through "
    "your provider's mail server with MAIL_SERVER, MAIL_USERNAME and MAIL_PASSWORD"
)
CLOSING: Final = "is closing connections; mails wait and are sent later"
SENDER: Final = "refused the sender {sender}: check MAIL_FROM"
RECIPIENTS: Final = "refused recipients: check ADMINS"
CONTENT: Final = "refused the mail for its content"

# The first match counts. Servers may delay a refusal of the greeting, the client or the sender
# until RCPT, so each row lists all the commands at which its refusal can come.
HINTS: Final = (
    Hint("AUTH", "4..", ANY, "", "cannot check the login for now; mails wait"),
    Hint("AUTH", "535", "5.7.139", "", "no longer takes passwords from this account: allow SMTP "
         "AUTH for MAIL_USERNAME there, or use another MAIL_SERVER"),
    Hint("AUTH", "534", "5.7.9", "", "wants an app password: make one in the account's settings, "
         "and set MAIL_PASSWORD to it"),
    Hint("AUTH", "5(?:30|38)", ANY, "", "takes a login over TLS only: set MAIL_USE_TLS=1"),
    Hint("AUTH", ANY, ANY, "", "refused the login: check MAIL_USERNAME and MAIL_PASSWORD"),
    Hint("STARTTLS", ANY, ANY, "", "offers STARTTLS and then refuses it: try MAIL_USE_SSL=1 with "
         "port 465, or ask the server's administrator"),
    Hint(ANY, "(?![45]..).*", ANY, "", "does not speak SMTP: check MAIL_SERVER and "
         "MAIL_PORT; for port 465 set MAIL_USE_SSL=1"),
    Hint(ANY, "4..", ANY, "gr[ae]y ?list", "asks clients to try again later "
         "(greylisting); mails wait and are sent later"),
    Hint("EHLO|MAIL|RCPT", "[45]..", ANY, r"\b(?:helo|ehlo)\b", HELO),
    Hint("EHLO|MAIL|RCPT", "504", ANY, "", HELO),
    Hint(ANY, "421", ANY, r"too many|\brate\b|limit", LIMITS),
    Hint(ANY, "421", ANY, "", CLOSING),
    Hint("CONNECT|EHLO|MAIL|RCPT|DATA|CONTENT", "5..", r"5\.7\.25", "", BLOCKED),
    Hint("CONNECT|EHLO|MAIL|RCPT|DATA|CONTENT", "5..", ANY,
         r"block ?list|black ?list|spamhaus|\brbl\b|dnsbl|reverse (?:dns|hostname)|\bPTR\b",
         BLOCKED),
    Hint("CONNECT", ANY, ANY, "", "accepts no connection from this machine: check MAIL_SERVER and "
         "MAIL_PORT, or ask the server's administrator"),
    Hint("EHLO", ANY, ANY, "", HELO),
    Hint("MAIL|RCPT|DATA|CONTENT", "530", ANY, "", LOGIN_FIRST),
    Hint("MAIL|RCPT|DATA|CONTENT", "5..", r"5\.7\.57", "", LOGIN_FIRST),
    Hint("MAIL|RCPT|DATA|CONTENT", "5..", ANY, r"authentication (?:is )?required|must "
         r"(?:be )?authenticat|log ?in first|not (?:logged in|authenticated)", LOGIN_FIRST),
    Hint("MAIL|RCPT|DATA|CONTENT", "[45]..", r"[45]\.7\.(?:2[0-9]|3[0-2]|509|515)", "",
         NOT_ALLOWED_FROM),
    Hint("MAIL|RCPT|DATA|CONTENT", "[45]..", ANY, r"\b(?:spf|dmarc|dkim)\b|unauthenticated",
         NOT_ALLOWED_FROM),
    Hint("MAIL|RCPT|DATA|CONTENT", "5..", r"5\.7\.60|5\.1\.[78]", "", SENDER),
    Hint("RCPT|DATA|CONTENT", "5..", ANY, r"sender|send as|not owned by", SENDER),
    Hint("RCPT|DATA", "[45]5.", ANY, "rela(?:y|ies)", RELAYING),
    Hint("RCPT", "[45]5.", r"[45]\.5\.3", "", "accepts fewer recipients per mail than ADMINS "
         "lists; the rest get a separate copy"),
    Hint("RCPT", "[45]52", ANY, "too many", "accepts fewer recipients per mail than ADMINS "
         "lists; the rest get a separate copy"),
    Hint("MAIL|RCPT|DATA|CONTENT", "4..", ANY, r"\brate\b|limit|too (?:many|much|fast)|throttl",
         LIMITS),
    Hint("RCPT", "[45]5[02]", r"[45]\.2\.[0-9]+", "", "has a mailbox that is full or closed: "
         "check ADMINS and that mailbox"),
    Hint("MAIL|RCPT|DATA|CONTENT", "[45]52", r"[45]\.(?:2\.3|3\.4)|", "",
         "takes no mail of this size"),
    Hint("MAIL|RCPT|DATA|CONTENT", "45[0-2]", r"4\.3\.[0-9]+", "",
         "has no space or is overloaded; mails wait and are sent later"),
    Hint("MAIL|RCPT|DATA|CONTENT", "45[0-2]", r"4\.7\.[0-9]+", "", LIMITS),
    Hint("MAIL|RCPT|DATA|CONTENT", "4..", ANY, "",
         "does not take the mail for now; it waits and is sent later"),
    Hint("MAIL", ANY, ANY, "", SENDER),
    Hint("RCPT", ANY, ANY, "", RECIPIENTS),
    Hint("DATA|CONTENT", ANY, ANY, "", CONTENT),
)  # fmt: skip


def hint(command: str, reply: Reply) -> str:
    """Return what a refusal of ``command`` means, as the predicate of a sentence."""
    words = reply.text.decode("utf-8", "replace")
    enhanced = found[1] if (found := ENHANCED.match(words)) else ""
    return next(
        row.explanation
        for row in HINTS
        if re.fullmatch(row.commands, command)
        and re.fullmatch(row.codes, str(reply.code))
        and re.fullmatch(row.enhanced, enhanced)
        and re.search(row.words, words, re.IGNORECASE)
    )


def explain_refusal(command: str, reply: Reply, settings: MailSettings) -> str:
    """Return what a server's refusal means and which settings to change."""
    meaning = hint(command, reply).format(sender=settings.sender)
    return safe_line(f"{_place(settings)} {meaning}. The server replied: {reply}", settings)


def explain_recipients(refused: Mapping[str, Reply], settings: MailSettings) -> str:
    """Return why recipients were refused: the meaning of the first refusal, and every reply."""
    if not refused:
        return ""
    meaning = hint("RCPT", next(iter(refused.values()))).format(sender=settings.sender)
    said = "; ".join(f"{address}: {reply}" for address, reply in refused.items())
    return safe_line(f"{_place(settings)} {meaning}. The server replied: {said}", settings)


def explain(error: Exception, settings: MailSettings) -> str:
    """Return why a mail could not be sent and which settings to change."""
    match error:
        case RefusedError():
            return explain_refusal(error.command, error.reply, settings)
        case UnsendableError():
            return safe_line(f"{_place(settings)} {error}.", settings)
        case NotOfferedError(extension="STARTTLS"):
            text = (
                "does not offer STARTTLS, and nothing is sent unencrypted: check MAIL_PORT "
                "(usually 587), or set MAIL_USE_TLS=0, and MAIL_USE_SSL=1 for port 465."
            )
        case NotOfferedError(offered=""):
            text = (
                "offers no login, or only after encryption: set MAIL_USE_TLS=1, or leave "
                "MAIL_USERNAME empty if it needs none."
            )
        case NotOfferedError():
            text = (
                f"offers only login methods that Flask Mayday does not support ({error.offered}): "
                "use a server that takes a password, with AUTH PLAIN or LOGIN."
            )
        case _:
            return safe_line(_explain_connection(error, settings), settings)
    return safe_line(f"{_place(settings)} {text}", settings)


def _explain_connection(error: Exception, settings: MailSettings) -> str:
    """Explain why a connection could not be made or was lost."""
    place = _place(settings)
    if isinstance(error, smtplib.SMTPServerDisconnected) and error.__context__ is not None:
        error = error.__context__ if isinstance(error.__context__, OSError) else error
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"The certificate of {place} cannot be trusted: {error.verify_message}. Set "
                "MAIL_SERVER to the name in it, or MAIL_CA_FILE (secrets/mail_ca.crt in the "
                "stack) to the certificate of its CA."
            )
        case ssl.SSLError() if settings.use_ssl:
            return (
                f"{place} does not speak TLS from the first byte: set MAIL_USE_SSL=0, and "
                "MAIL_USE_TLS=1 for STARTTLS (port 587)."
            )
        case ssl.SSLError():
            return f"{place}: TLS failed ({error.reason}): check MAIL_SERVER and MAIL_PORT."
        case socket.gaierror():
            return f"Host {settings.server} not found ({error.strerror}): check MAIL_SERVER."
        case UnicodeError():
            return f"{settings.server} is not a host name: check MAIL_SERVER."
        case ConnectionRefusedError():
            return (
                f"Nothing listens at {place}: check MAIL_PORT and MAIL_SERVER. In a container, "
                "localhost is the container itself: use the host's address on the network."
            )
        case TimeoutError():
            return (
                f"{place} did not answer within {settings.timeout:g} s: check MAIL_SERVER and "
                "MAIL_PORT, or set MAIL_USE_SSL=1 if it waits for TLS (port 465)."
            )
        case smtplib.SMTPServerDisconnected() | ConnectionError():
            return f"{place} closed the connection: check MAIL_PORT, and the server's own log."
    return f"{place} cannot be used: {error}."


def safe_line(text: str, settings: MailSettings) -> str:
    """Return a text that may hold a server's words, safe for a log, a terminal and the spool."""
    secrets = [settings.password] if settings.password else []
    return Redactor(secrets).bind(None).text(printable_line(text))[:LENGTH_LIMIT]


def _place(settings: MailSettings) -> str:
    return f"{settings.server}:{settings.port}"
