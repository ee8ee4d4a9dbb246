"""The explanations of real servers' refusals."""

from __future__ import annotations

import re

import pytest

from flask_mayday.courier.smtp_connection import Reply
from flask_mayday.courier.smtp_hints import HINTS, explain_refusal, hint
from flask_mayday.settings import read_settings

CASES = [
    # Postfix checks the greeting at RCPT by default.
    ("RCPT", "504 5.5.2 <web>: Helo command rejected: need fully-qualified hostname", "MAIL_HELO"),
    ("RCPT", "450 4.7.1 <web>: Helo command rejected: Host not found", "MAIL_HELO_NAME"),
    ("EHLO", "550 Invalid HELO name (See RFC2821 4.1.1.1)", "MAIL_HELO_NAME"),
    ("EHLO", "504 HELO rejected", "MAIL_HELO_NAME"),
    ("MAIL", "504 HELO rejected", "MAIL_HELO_NAME"),
    ("RCPT", "550-5.7.1 EHLO argument does not match calling host", "MAIL_HELO_NAME"),
    # Connections
    ("CONNECT", "421 4.7.0 too many connections from 192.0.2.1", "REPORT_MAILS_PER_HOUR"),
    ("MAIL", "421 4.4.2 mail.example.com Error: timeout exceeded", "is closing connections"),
    (
        "CONNECT",
        "554 5.7.1 Service unavailable; Client host blocked using zen.spamhaus.org",
        "block",
    ),
    ("RCPT", "550 5.7.25 Client host rejected: cannot find your reverse hostname", "reverse DNS"),
    ("RCPT", "550 5.7.1 Client host rejected: cannot find your reverse hostname", "reverse DNS"),
    ("CONNECT", "554 No SMTP service here", "accepts no connection from this machine"),
    ("CONNECT", "-1 /1.1 400 Bad Request", "does not speak SMTP"),
    # Login
    ("AUTH", "535 5.7.8 Error: authentication failed", "check MAIL_USERNAME and MAIL_PASSWORD"),
    ("AUTH", "535 5.7.139 Authentication unsuccessful, basic authentication is disabled", "allow"),
    ("AUTH", "534 5.7.9 Application-specific password required", "app password"),
    ("AUTH", "454 4.7.0 Temporary authentication failure", "cannot check the login for now"),
    ("AUTH", "538 5.7.11 Encryption required", "MAIL_USE_TLS=1"),
    ("MAIL", "530 5.7.0 Must issue a STARTTLS command first", "MAIL_USE_TLS=1"),
    ("MAIL", "530 5.7.57 Client not authenticated to send mail", "MAIL_USERNAME"),
    ("RCPT", "550 5.7.1 Authentication required", "MAIL_USERNAME"),
    ("STARTTLS", "454 4.7.0 TLS not available", "MAIL_USE_SSL=1"),
    # Sender
    ("MAIL", "550 5.1.8 Sender address rejected: Domain not found", "check MAIL_FROM"),
    ("RCPT", "553 5.7.1 Sender address rejected: not owned by user blog", "check MAIL_FROM"),
    ("CONTENT", "550 5.7.60 SMTP; Client does not have permissions to send as this", "MAIL_FROM"),
    ("MAIL", "553 sorry, your envelope sender is not accepted", "check MAIL_FROM"),
    ("MAIL", "550 5.7.1 SPF check failed", "(SPF, DKIM, DMARC): set MAIL_FROM"),
    ("CONTENT", "550-5.7.26 The sender is unauthenticated", "(SPF, DKIM, DMARC): set MAIL_FROM"),
    ("CONTENT", "550 5.7.1 Rejected per the DMARC policy of example.com", "(SPF, DKIM, DMARC)"),
    ("CONTENT", "550 5.7.509 Access denied, sending domain does not pass DMARC", "(SPF, DKIM"),
    ("RCPT", "550 5.7.23 SPF validation failed", "(SPF, DKIM, DMARC): set MAIL_FROM"),
    # Recipients
    ("RCPT", "554 5.7.1 <a@b.example>: Relay access denied", "does not relay for this client"),
    ("RCPT", "550 relay not permitted", "does not relay for this client"),
    ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "not relay"),
    ("RCPT", "550 5.7.1 Relaying denied", "does not relay for this client"),
    ("RCPT", "550 5.1.1 <a@b.example>: User unknown", "check ADMINS"),
    ("RCPT", "550 No such user here", "check ADMINS"),
    ("RCPT", "552 5.2.2 Mailbox full", "check ADMINS and that mailbox"),
    ("RCPT", "552 Too many recipients", "accepts fewer recipients per mail"),
    ("RCPT", "452 4.5.3 Too many recipients", "accepts fewer recipients per mail"),
    # Temporary
    ("RCPT", "450 4.7.1 Greylisted, please try again", "greylisting"),
    ("RCPT", "450 4.2.0 <a@b.example>: Recipient address rejected: Greylisted", "greylisting"),
    ("MAIL", "450 4.7.1 Error: too much mail from 192.0.2.1", "REPORT_MAILS_PER_HOUR"),
    ("RCPT", "450 4.2.1 The user is receiving mail at a rate that is too high", "REPORT_MAILS"),
    ("CONTENT", "451 4.7.1 Rate limit exceeded", "REPORT_MAILS_PER_HOUR"),
    ("MAIL", "452 4.3.1 Insufficient system storage", "has no space"),
    ("CONTENT", "451 Requested action aborted", "it waits and is sent later"),
    # The mail itself
    ("MAIL", "552 5.3.4 Message size exceeds fixed limit", "takes no mail of this size"),
    ("CONTENT", "552 5.2.3 Message too large", "takes no mail of this size"),
    ("CONTENT", "554 5.7.1 Message rejected as spam", "refused the mail for its content"),
    ("DATA", "554 no valid recipients", "refused the mail for its content"),
]


def reply(text: str) -> Reply:
    code, _, words = text.replace("550-", "550 ").partition(" ")
    return Reply(int(code), words.encode())


@pytest.mark.parametrize(("command", "text", "words"), CASES)
def test_a_refusal_is_explained_by_command_and_codes(command: str, text: str, words: str) -> None:
    assert words in hint(command, reply(text))


def test_every_row_of_the_table_is_used() -> None:
    reached = {hint(command, reply(text)) for command, text, _ in CASES}
    assert reached == {row.explanation for row in HINTS}


def test_every_hint_names_a_setting_or_says_that_nothing_needs_to_be_done() -> None:
    for row in HINTS:
        names = re.findall(r"\b[A-Z]+_[A-Z_]+|ADMINS", row.explanation)
        is_temporary = re.search("later|wait|closing|further|size|content", row.explanation)
        assert names or is_temporary, row


def test_an_explanation_ends_with_the_servers_reply_on_one_line() -> None:
    settings = read_settings({"MAIL_SERVER": "m.example", "ADMINS": "a@b.example"}).mail
    text = explain_refusal("MAIL", Reply(550, b"5.1.8 no\nsuch\x1b[31m domain"), settings)
    assert text == (
        "m.example:25 refused the sender no-reply@m.example: check MAIL_FROM. "
        "The server replied: 550 5.1.8 no such [31m domain"
    )
