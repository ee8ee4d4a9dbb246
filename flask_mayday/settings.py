"""Read the settings from the environment: the one place, typed and validated at start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from email.errors import HeaderParseError
from email.headerregistry import Address
from pathlib import Path
from typing import Final

import click
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT: Final = Path(__file__).resolve().parent.parent

TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})
SECRET_MINIMUM: Final = 32  # characters
MAKE_A_SECRET: Final = "python3 -c 'import secrets; print(secrets.token_hex(32))'"
# Printable ASCII: few mail servers take more (RFC 6531), MailHog does not.
ADDRESS: Final = re.compile(r"[!#-+.-;=?A-~-]+@[!#-+.-;=?A-~-]+")


class ConfigurationError(click.ClickException):
    """The settings cannot be used; the message names each variable, its value and the mend.

    A ``ClickException``, so that every ``flask`` command prints the message and no traceback.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The settings cannot be used:\n{lines}")

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, valid. Sizes are in bytes, times in seconds unless the name says otherwise."""

    secret_key: str = field(repr=False)
    database_url: URL = field(repr=False)
    mail_server: str | None
    mail_port: int
    mail_use_tls: bool
    mail_use_ssl: bool
    mail_username: str | None
    mail_password: str | None = field(repr=False)
    mail_from: str
    mail_timeout: float
    admins: tuple[str, ...]
    log_dir: Path
    log_max_bytes: int
    log_backup_count: int
    log_level: str
    log_format: str
    log_slow_ms: int
    spool_dir: Path
    spool_max_bytes: int
    report_window: float
    report_mails_per_hour: int
    report_keep_days: int
    request_timeout: float
    debug: bool
    drill: bool
    trusted_proxies: int
    web_concurrency: int
    web_threads: int
    http_bind: str
    mailhog_port: int
    instance_path: Path

    def __str__(self) -> str:
        """Every setting but the secrets, for the log."""
        # Of the URL no query either: a password can stand there too.
        url = self.database_url.set(query={}).render_as_string(hide_password=True)
        shown = {item.name: getattr(self, item.name) for item in fields(self) if item.repr}
        return " ".join(
            f"{name.upper()}={value}" for name, value in ({"database_url": url} | shown).items()
        )

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The values that must never leave the process, for redaction by value."""
        url = self.database_url
        in_query = (url.query.get(name) for name in ("password", "sslpassword"))
        candidates = (self.secret_key, self.mail_password, url.password, *in_query)
        return tuple(str(value) for value in candidates if value)


def read_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Return the settings of the environment, with ``overrides`` (by variable name) before it.

    Raises :exc:`ConfigurationError` with every problem found, not just the first.
    """
    environ = dict(os.environ)
    for name, value in (overrides or {}).items():
        base = name.removesuffix("_FILE")
        environ.pop(base, None)
        environ.pop(f"{base}_FILE", None)
        if value is not None:
            environ[name] = _as_text(value)
    return _Reader(environ).settings()


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    return str(value)


class _Reader:
    """Takes typed values out of an environment and collects what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def settings(self) -> Settings:
        instance_path = ROOT / "instance"
        mail_server = self.text("MAIL_SERVER") or None
        mail_username = self.text("MAIL_USERNAME") or None
        settings = Settings(
            secret_key=self.secret_key(),
            database_url=self.database_url(instance_path),
            mail_server=mail_server,
            mail_port=self.integer("MAIL_PORT", 25, 1, 65535),
            mail_use_tls=self.boolean("MAIL_USE_TLS", False),
            mail_use_ssl=self.boolean("MAIL_USE_SSL", False),
            mail_username=mail_username,
            mail_password=self.secret("MAIL_PASSWORD"),
            mail_from=self.text("MAIL_FROM") or f"no-reply@{mail_server or 'localhost'}",
            mail_timeout=self.integer("MAIL_TIMEOUT", 10, 1, 300),
            admins=self.addresses("ADMINS"),
            log_dir=self.path("LOG_DIR", ROOT / "logs"),
            log_max_bytes=self.integer("LOG_MAX_BYTES", 10240, 1024, 1 << 40),
            log_backup_count=self.integer("LOG_BACKUP_COUNT", 10, 1, 1_000_000),
            log_level=self.choice("LOG_LEVEL", "INFO", _LEVELS, str.upper),
            log_format=self.choice("LOG_FORMAT", "text", ("text", "json"), str.lower),
            log_slow_ms=self.integer("LOG_SLOW_MS", 1000, 1, 3_600_000),
            spool_dir=self.path("SPOOL_DIR", instance_path / "spool"),
            spool_max_bytes=self.integer("SPOOL_MAX_BYTES", 256 << 20, 1 << 20, 1 << 40),
            report_window=self.integer("REPORT_WINDOW", 300, 1, 86_400),
            report_mails_per_hour=self.integer("REPORT_MAILS_PER_HOUR", 60, 1, 100_000),
            report_keep_days=self.integer("REPORT_KEEP_DAYS", 30, 1, 3650),
            request_timeout=self.integer("REQUEST_TIMEOUT", 30, 1, 3600),
            debug=self.boolean("FLASK_DEBUG", False),
            drill=self.boolean("DRILL", False),
            trusted_proxies=self.integer("TRUSTED_PROXIES", 0, 0, 10),
            web_concurrency=self.integer("WEB_CONCURRENCY", 2, 1, 128),
            web_threads=self.integer("WEB_THREADS", 4, 1, 256),
            http_bind=self.text("HTTP_BIND") or "127.0.0.1",
            mailhog_port=self.integer("MAILHOG_PORT", 8025, 1, 65535),
            instance_path=instance_path,
        )
        self.check_mail(settings)
        self.check_drill(settings)
        if self.problems:
            raise ConfigurationError(self.problems)
        return settings

    def problem(self, name: str, value: str | None, mend: str) -> None:
        shown = "is not set" if value is None else f"is {value!r}"
        self.problems.append(f"{name} {shown}: {mend}")

    def text(self, name: str) -> str:
        return self.environ.get(name, "").strip()

    def boolean(self, name: str, default: bool) -> bool:
        value = self.text(name)
        if not value:
            return default
        if value.lower() not in TRUE | FALSE:
            self.problem(name, value, "use 1, true, yes or on, or 0, false, no or off.")
        return value.lower() in TRUE

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not low <= int(value) <= high:
            self.problem(name, value, f"use a whole number from {low} to {high}.")
            return default
        return int(value)

    def choice(
        self, name: str, default: str, allowed: tuple[str, ...], fold: Callable[[str], str]
    ) -> str:
        value = fold(self.text(name)) or default
        if value not in allowed:
            self.problem(name, self.text(name), f"use one of {', '.join(allowed)}.")
            return default
        return value

    def path(self, name: str, default: Path) -> Path:
        value = self.text(name)
        return (ROOT / value).resolve() if value else default

    def addresses(self, name: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in self.text(name).split(",") if part.strip())
        for address in found:
            if not _is_address(address):
                self.problem(
                    name, address, "write mail addresses such as admin@example.com, with commas."
                )
        return found

    def secret(self, name: str) -> str | None:
        """Return a secret from ``name`` or from the file that ``<name>_FILE`` names."""
        # Empty is unset, as for every setting: compose passes what `.env` leaves out as "".
        value, file = self.environ.get(name) or None, self.text(f"{name}_FILE")
        if value is not None and file:
            self.problems.append(f"{name} and {name}_FILE are both set: keep one of them.")
        if not file:
            return value
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.problem(f"{name}_FILE", file, f"it cannot be read ({reason}).")
            return None

    def secret_key(self) -> str:
        count = len(self.problems)
        value = self.secret("SECRET_KEY")
        if len(self.problems) > count:
            return ""
        self.long_enough("SECRET_KEY", value)
        return value or ""

    def long_enough(self, name: str, value: str | None) -> None:
        if not value:
            self.problem(
                name,
                None,
                f"set it, or {name}_FILE, to a random text of at least {SECRET_MINIMUM} "
                f"characters: {MAKE_A_SECRET}",
            )
        elif len(value) < SECRET_MINIMUM:
            self.problems.append(
                f"{name} has {len(value)} characters: it needs at least {SECRET_MINIMUM}: "
                f"{MAKE_A_SECRET}"
            )

    def database_url(self, instance_path: Path) -> URL:
        """Return the URL, with its password and a driver, or SQLite in the instance folder."""
        sqlite = URL.create("sqlite", database=str(instance_path / "microblog.db"))
        text, password = self.secret("DATABASE_URL"), self.secret("POSTGRES_PASSWORD")
        if not text:
            return sqlite
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            self.problems.append(
                "DATABASE_URL cannot be read: write postgresql://user@host:5432/name "
                "or sqlite:////folder/file.db (the password belongs into POSTGRES_PASSWORD_FILE)."
            )
            return sqlite
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg2")
        if url.drivername not in ("postgresql+psycopg2", "sqlite"):
            self.problem("DATABASE_URL", f"{url.drivername}://…", "use postgresql:// or sqlite://.")
        if url.drivername == "sqlite" or password is None:
            return url
        if url.password is not None:
            self.problems.append(
                "DATABASE_URL has a password and POSTGRES_PASSWORD is set: keep one of them."
            )
        self.long_enough("POSTGRES_PASSWORD", password)
        return url.set(password=password)

    def check_mail(self, settings: Settings) -> None:
        if settings.mail_server and not settings.admins:
            self.problem(
                "ADMINS", None, "MAIL_SERVER is set, so name who is to get the error mails."
            )
        if settings.mail_use_tls and settings.mail_use_ssl:
            self.problems.append(
                "MAIL_USE_TLS and MAIL_USE_SSL are both on: use MAIL_USE_TLS for STARTTLS "
                "(port 587) or MAIL_USE_SSL for TLS from the first byte (port 465)."
            )
        if settings.mail_username and not settings.mail_password:
            self.problem("MAIL_PASSWORD", None, "MAIL_USERNAME is set, so the log-in needs one.")
        if not _is_address(settings.mail_from):
            self.problem(
                "MAIL_FROM", settings.mail_from, "use one address such as no-reply@example.com."
            )

    def check_drill(self, settings: Settings) -> None:
        if settings.drill and not _is_loopback(settings.http_bind):
            self.problem(
                "DRILL",
                self.text("DRILL"),
                f"anybody who reaches HTTP_BIND={settings.http_bind} could break this site; "
                "set DRILL=0, or HTTP_BIND=127.0.0.1.",
            )


_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _is_address(text: str) -> bool:
    """Tell whether ``text`` is an address that a mail's header can hold (RFC 5322)."""
    if not ADDRESS.fullmatch(text):
        return False
    try:
        Address(addr_spec=text)
    except (HeaderParseError, ValueError, IndexError):
        return False
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
