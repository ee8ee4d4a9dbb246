"""The settings with which the couriers of several machines agree through PostgreSQL."""

from __future__ import annotations

import importlib.util
from typing import Final
from urllib.parse import urlsplit

from .setting_groups import AgreementSettings
from .settings_reader import SettingsReader

SCHEMES: Final = ("postgresql", "postgres", "postgresql+psycopg2")
NODE_LENGTH: Final = 100  # characters


def read_agreement(reader: SettingsReader) -> AgreementSettings:
    """Return the settings of the agreement, which is off unless COURIERS_AGREE is on.

    If it is off, the other settings are not checked: the files that they name may be missing.
    """
    if not reader.boolean("COURIERS_AGREE", False):
        return AgreementSettings()
    node = reader.line("NODE_NAME")
    if not node or len(node) > NODE_LENGTH:
        fix = f"COURIERS_AGREE is on, so give each machine a name of its own (up to {NODE_LENGTH}"
        reader.problem("NODE_NAME", node or None, f"{fix} characters).")
    if importlib.util.find_spec("psycopg2") is None:
        fix = "the couriers agree through psycopg2, which is missing: pip install"
        reader.problem("COURIERS_AGREE", "1", f"{fix} 'flask-mayday[agreement]'.")
    url = (reader.secret("AGREEMENT_URL") or "").strip()
    if not url:
        fix = "COURIERS_AGREE is on, so name a database such as postgresql://user@host/name."
        reader.problem("AGREEMENT_URL", None, fix)
    elif not _is_postgresql_url(url):
        # It may hold a password, so the message does not show it.
        reader.problems.append(
            "AGREEMENT_URL cannot be used: write an address such as postgresql://user@host/name."
        )
    user, password = reader.secret("AGREEMENT_USER"), reader.secret("AGREEMENT_PASSWORD")
    return AgreementSettings(url, user or None, password or None, node)


def _is_postgresql_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is invalid
    except ValueError:
        return False
    return parts.scheme in SCHEMES and url.isprintable() and len(parts.path) > 1
