"""The demo's own settings: its secret key and its database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flask import Flask
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from flask_mayday.settings import SettingsReader
from flask_mayday.time_limits import TimeLimits

from .cookies import cookie_prefix
from .database import engine_options

ROOT: Final = Path(__file__).resolve().parent.parent
MIN_SECRET_LENGTH: Final = 32  # characters
SECRET_COMMAND: Final = "python3 -c 'import secrets; print(secrets.token_hex(32))'"
MAX_FORM_BYTES: Final = 1 << 20


def configure(app: Flask, overrides: Mapping[str, object]) -> list[str]:
    """Set ``app.config`` from the environment and from ``overrides``, which win.

    Returns one message per invalid setting, with its name, value and fix.
    """
    reader = SettingsReader(overrides, os.environ)
    url = _database_url(reader, Path(app.instance_path))
    limits = TimeLimits(reader.integer("REQUEST_TIMEOUT", 30, 1, 3600))
    workers = reader.integer("WEB_CONCURRENCY", 2, 1, 128)
    threads = reader.integer("WEB_THREADS", 4, 1, 256)
    app.debug = reader.boolean("FLASK_DEBUG", app.debug)
    app.config.from_mapping(
        {
            "MAX_CONTENT_LENGTH": MAX_FORM_BYTES,
            "SESSION_COOKIE_HTTPONLY": True,
            "SESSION_COOKIE_SAMESITE": "Lax",
            **overrides,
        }
    )
    # Read by name, from the overrides first. The values have been checked.
    app.config.from_mapping(
        SECRET_KEY=_secret_key(reader),
        SECRET_KEY_FALLBACKS=_secret_key_fallbacks(reader),
        SQLALCHEMY_DATABASE_URI=url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(url, limits, threads),
        WEB_CONCURRENCY=workers,
        WEB_THREADS=threads,
        COOKIE_PREFIX=cookie_prefix(reader.line("STACK_NAME")),
        LOGIN_LIMITS=reader.boolean("LOGIN_LIMITS", True),
        # Beside the code, as in the tutorial.
        LOG_DIR=ROOT / (reader.line("LOG_DIR") or "logs"),
        LOG_FILE="microblog.log",
        DRILL=reader.boolean("DRILL", False),
        APP_NAME=reader.line("APP_NAME") or "Microblog",
    )
    return reader.problems


def _secret_key(reader: SettingsReader) -> str:
    count = len(reader.problems)
    value = reader.secret("SECRET_KEY")
    if len(reader.problems) == count:
        _check_length(reader, "SECRET_KEY", value)
    return value or ""


def _secret_key_fallbacks(reader: SettingsReader) -> list[str]:
    """Return the earlier keys that are still accepted, from a list or a text of one per line."""
    value = reader.config.get("SECRET_KEY_FALLBACKS")
    if isinstance(value, list):
        return value
    return reader.secret_lines("SECRET_KEY_FALLBACKS")


def _check_length(reader: SettingsReader, name: str, value: str | None) -> None:
    if not value or value.isspace():
        reader.problem(
            name,
            value or None,
            f"set it to a random text of at least {MIN_SECRET_LENGTH} characters, or {name}_FILE "
            f"to the path of a file that holds one: {SECRET_COMMAND}",
        )
    elif len(value) < MIN_SECRET_LENGTH:
        reader.problems.append(
            f"{name} has {len(value)} characters, but needs at least {MIN_SECRET_LENGTH}. Generate "
            f"one: {SECRET_COMMAND}"
        )


def _database_url(reader: SettingsReader, instance_path: Path) -> URL:
    """Return the database URL with its password and driver; by default, a SQLite file's."""
    sqlite = URL.create("sqlite", database=str(instance_path / "microblog.db"))
    text, password = reader.secret("DATABASE_URL"), reader.secret("POSTGRES_PASSWORD")
    if not text:
        return sqlite
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        reader.problems.append(
            "DATABASE_URL cannot be parsed: write postgresql://user@host:5432/name "
            "or sqlite:////folder/file.db (the password belongs in POSTGRES_PASSWORD_FILE)."
        )
        return sqlite
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg2")
    if url.drivername not in ("postgresql+psycopg2", "sqlite"):
        reader.problem("DATABASE_URL", f"{url.drivername}://…", "use postgresql:// or sqlite://.")
    if url.drivername == "sqlite":
        return url
    if url.port is not None and not 0 < url.port < 65536:
        reader.problem("DATABASE_URL", f"…:{url.port}/…", "use a port from 1 to 65535.")
    if user := reader.secret("POSTGRES_USER"):
        url = url.set(username=user)
    if password is None:
        return url
    if url.password is not None:
        reader.problems.append(
            "DATABASE_URL has a password and POSTGRES_PASSWORD is set: keep one of them."
        )
    _check_length(reader, "POSTGRES_PASSWORD", password)
    return url.set(password=password)
