"""Reads the captured mails from MailHog, through its guard."""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

USER = "admin"
PASSWORD = Path(__file__).resolve().parents[2] / "secrets" / "mailhog_password"


def captured_mails(address: str, limit: int) -> dict[str, Any]:
    """Return the newest mails as MailHog's API lists them, and their total number.

    Exit if MailHog does not answer, or has a password that is not in secrets/.
    """
    request = urllib.request.Request(f"{address}/api/v2/messages?limit={limit}")
    if password := own_password():
        login = base64.b64encode(f"{USER}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError as error:
        if not isinstance(error, urllib.error.HTTPError) or error.code != 401:
            sys.exit(f"MailHog at {address} does not answer: {error}. See why: make ps")
    sys.exit(
        f"MailHog at {address} requires a password, and {PASSWORD} does not hold it. Write it "
        "there. To change it, write a new one there, or an empty file for none, and run make up."
    )


def own_password() -> str:
    """Return the password that the operator has chosen, empty if there is none."""
    try:
        return PASSWORD.read_text().rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        sys.exit(f"secrets/mailhog_password cannot be read: {reason}.")
