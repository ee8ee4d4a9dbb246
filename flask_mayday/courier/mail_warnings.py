"""Warns, when the app starts, about mail settings that are valid but probably a mistake."""

from __future__ import annotations

from typing import Final

from ..settings import MailSettings, is_loopback

SMTPS: Final = 465
SUBMISSION: Final = 587


def mail_warnings(settings: MailSettings) -> list[str]:
    """Return a sentence for each combination of settings that may fail or leak the password."""
    if settings.server is None:
        return []
    server, warnings = settings.server, []
    is_local = is_loopback(server) or server == "mailhog"
    is_encrypted = settings.use_tls or settings.use_ssl
    if settings.username and not is_encrypted and not is_local:
        warnings.append(
            f"MAIL_USERNAME is set and neither MAIL_USE_TLS nor MAIL_USE_SSL: the password is sent "
            f"to {server} unencrypted. Set MAIL_USE_TLS=1 (port 587) or MAIL_USE_SSL=1 (port 465)."
        )
    if settings.password and not settings.username:
        warnings.append(
            "MAIL_PASSWORD is set and MAIL_USERNAME is not: Flask Mayday does not log in. Set both "
            "or neither."
        )
    if settings.port == SMTPS and not settings.use_ssl and not is_local:
        warnings.append(
            "MAIL_PORT is 465, which expects TLS from the first byte: set MAIL_USE_SSL=1."
        )
    if settings.port == SUBMISSION and settings.use_ssl:
        warnings.append(
            "MAIL_PORT is 587, which expects STARTTLS: set MAIL_USE_TLS=1 instead of "
            "MAIL_USE_SSL=1."
        )
    if settings.ca_file is not None and not is_encrypted:
        warnings.append(
            "MAIL_CA_FILE is set and neither MAIL_USE_TLS nor MAIL_USE_SSL: it has no effect."
        )
    return warnings
