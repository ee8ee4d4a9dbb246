"""Talks to the mail server, and says in plain words what is wrong when that fails."""

from __future__ import annotations

import smtplib
import socket
import ssl

from ..config import Settings


def connect(settings: Settings) -> smtplib.SMTP:
    """Return a connection that is ready to send: greeted, encrypted and logged in as set.

    Raises :exc:`OSError` or :exc:`smtplib.SMTPException`.
    """
    host, port, timeout = str(settings.mail_server), settings.mail_port, settings.mail_timeout
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if settings.mail_use_ssl:
        server = smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(host, port, timeout=timeout)
    try:
        if settings.mail_use_tls:
            server.starttls(context=context)
        if settings.mail_username:
            server.login(settings.mail_username, settings.mail_password or "")
        server.ehlo_or_helo_if_needed()
    except BaseException:
        server.close()
        raise
    return server


def explain(error: Exception, settings: Settings) -> str:
    """Return what went wrong and which setting to look at."""
    place = f"{settings.mail_server}:{settings.mail_port}"
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"{place} refuses the log-in: check MAIL_USERNAME and MAIL_PASSWORD."
        case smtplib.SMTPSenderRefused():
            return (
                f"{place} refuses the sender {settings.mail_from}: check MAIL_FROM. {said(error)}"
            )
        case smtplib.SMTPRecipientsRefused():
            refused = ", ".join(error.recipients)
            return f"{place} refuses the recipients {refused}: check ADMINS."
        case smtplib.SMTPNotSupportedError():
            return f"{place} does not offer what is set: check MAIL_USE_TLS and MAIL_USERNAME."
        case ssl.SSLCertVerificationError():
            return f"The certificate of {place} cannot be trusted: {error.verify_message}."
        case ssl.SSLError():
            return (
                f"{place} does not speak TLS from the first byte: use MAIL_USE_TLS=1 for "
                "STARTTLS (port 587), MAIL_USE_SSL=1 only for port 465."
            )
        case socket.gaierror():
            return f"There is no machine called {settings.mail_server}: check MAIL_SERVER."
        case ConnectionRefusedError():
            return f"Nothing listens at {place}: check MAIL_PORT, and whether the server runs."
        case TimeoutError():
            return (
                f"{place} has not answered within {settings.mail_timeout:g} s: check MAIL_PORT, a "
                "firewall, or whether it wants TLS from the first byte (MAIL_USE_SSL=1)."
            )
    return f"{place} cannot be used: {said(error)}"


def said(error: Exception) -> str:
    """Return a server's own words, or the error's."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return f"{error.smtp_code} {words}"
    return f"{type(error).__name__}: {error}"
