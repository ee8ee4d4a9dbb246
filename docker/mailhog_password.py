"""The optional password of MailHog's UI: its hash, for the guard in front of MailHog."""

from __future__ import annotations

import ctypes
import secrets

USER = "admin"
MINIMUM = 12  # characters
FILE = ".mailhog_users"  # in the volume `secrets`; nginx/mailguard reads it at every request


def problem(password: str) -> str | None:
    """Return the problem with a password, or ``None``. An empty one removes the login."""
    if password and (len(password) < MINIMUM or not password.isprintable()):
        return (
            f"MAILHOG_PASSWORD: the file secrets/mailhog_password needs at least {MINIMUM} "
            "printable characters: write a longer password, or an empty file for no password."
        )
    return None


def user_line(password: str, present: str) -> str:
    """Return the line of nginx's file of users; the present one if it is for the same password."""
    _, _, digest = present.strip().partition(":")
    if digest and digest_of(password, digest) == digest:
        return present
    return f"{USER}:{digest_of(password, '$6$' + secrets.token_hex(8))}\n"


def digest_of(password: str, salt: str) -> str:
    """Return the SHA-512 hash of a password by crypt(3), with which nginx checks passwords."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    digest: bytes = library.crypt(password.encode(), salt.encode())
    return digest.decode()
