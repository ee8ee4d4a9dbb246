"""The settings of the extension: typed, and validated once, at :meth:`Mayday.init_app`."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.headerregistry import Address
from pathlib import Path
from typing import Final, TypeVar

import click

TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
PREFIX: Final = "MAYDAY_"
HELO_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Za-z.:]+\]")
# Printable ASCII: few mail servers accept more (RFC 6531), and MailHog does not.
ADDRESS: Final = re.compile(r"[!#-+.-;=?A-~-]+@[!#-+.-;=?A-~-]+")

T = TypeVar("T")

logger = logging.getLogger(__name__)


class ConfigurationError(click.ClickException):
    """Settings that cannot be used. The message names each one, its value and the fix.

    A ``ClickException``, so that ``flask`` commands print the message without a traceback.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"Invalid settings:\n{lines}")

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What distinguishes this app and deployment from others that mail the same administrators."""

    name: str
    environment: str
    release: str
    own_code: tuple[str, ...]  # folders and packages, besides the app's root path
    log_hint: str = ""  # how to see a request's log lines; {request_id} stands for its id

    @property
    def label(self) -> str:
        """The name as a mail's subject shows it: with the environment, unless in production."""
        if self.environment == "production":
            return self.name
        return f"{self.name} {self.environment}"


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where error mails go; none is sent where ``server`` is ``None``. ``timeout`` in seconds."""

    server: str | None
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    password: str | None = field(repr=False)
    sender: str
    timeout: float
    admins: tuple[str, ...]
    ca_file: Path | None = None  # of CAs to trust besides the system's
    helo_name: str | None = None  # by default the host's own name


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The rotating log; ``max_bytes`` of one file, ``slow_ms`` in milliseconds."""

    folder: Path
    file_name: str
    max_bytes: int
    backup_count: int
    level: str
    format: str
    slow_ms: int

    @property
    def path(self) -> Path:
        """The file that records are written to."""
        return self.folder / self.file_name


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where reports wait for delivery; ``max_bytes`` of the whole folder."""

    folder: Path
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How often administrators are mailed: ``window`` in seconds, ``keep_days`` in days."""

    window: float
    mails_per_hour: int
    keep_days: int


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the gunicorn configuration uses; ``request_timeout`` in seconds."""

    request_timeout: float
    workers: int
    threads: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, valid."""

    app: AppSettings
    mail: MailSettings
    log: LogSettings
    spool: SpoolSettings
    reports: ReportSettings
    server: ServerSettings
    drill: bool
    trusted_proxies: int
    mail_ui: str | None  # the address at which captured mails can be read

    def __str__(self) -> str:
        """Return every setting but the secrets, for the log."""
        groups = (self.app, self.mail, self.log, self.spool, self.reports, self.server)
        shown = (f"drill={self.drill} trusted_proxies={self.trusted_proxies}",)
        return " ".join((*map(repr, groups), *shown))

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The values among the settings that must never leave the process."""
        return (self.mail.password,) if self.mail.password else ()


def read_settings(
    config: Mapping[str, object] | None = None,
    *,
    import_name: str = "app",
    instance_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of ``config`` (an app's configuration) and the environment.

    The first of these that is set counts: ``MAYDAY_<NAME>`` in the environment, ``MAYDAY_<NAME>``
    in ``config``, ``<NAME>`` in ``config``, ``<NAME>`` in the environment. ``None`` and the empty
    text are unset. An invalid ``<NAME>`` in ``config`` may belong to another library: it is
    ignored with a warning. Relative folders start at ``instance_path``.

    Raises :exc:`ConfigurationError` with every problem found, not just the first.
    """
    reader = SettingsReader(config or {}, os.environ if environ is None else environ)
    settings = _read(reader, import_name, instance_path or Path.cwd() / "instance")
    _check_mail(reader, settings.mail)
    _check_drill(reader, settings.drill)
    reader.finish()
    return settings


def _read(reader: SettingsReader, import_name: str, instance: Path) -> Settings:
    name = import_name.rpartition(".")[2] if import_name != "__main__" else "app"
    mail = _read_mail(reader, instance)
    log = LogSettings(
        folder=reader.path("LOG_DIR", instance, "logs"),
        file_name=reader.file_name("LOG_FILE", f"{name}.log"),
        max_bytes=reader.integer("LOG_MAX_BYTES", 10240, 1024, 1 << 40),
        backup_count=reader.integer("LOG_BACKUP_COUNT", 10, 1, 1_000_000),
        level=reader.choice("LOG_LEVEL", "INFO", LEVELS, str.upper),
        format=reader.choice("LOG_FORMAT", "text", ("text", "json"), str.lower),
        slow_ms=reader.integer("LOG_SLOW_MS", 1000, 1, 3_600_000),
    )
    return Settings(
        app=AppSettings(
            name=reader.line("APP_NAME") or name,
            environment=reader.line("ENVIRONMENT") or "production",
            release=reader.line("RELEASE"),
            own_code=reader.items("OWN_CODE"),
            log_hint=reader.line("LOG_HINT") or f"grep {{request_id}} {log.path}*",
        ),
        mail=mail,
        log=log,
        spool=SpoolSettings(
            folder=reader.path("SPOOL_DIR", instance, "spool"),
            max_bytes=reader.integer("SPOOL_MAX_BYTES", 256 << 20, 1 << 20, 1 << 40),
        ),
        reports=ReportSettings(
            window=reader.integer("REPORT_WINDOW", 300, 1, 86_400),
            mails_per_hour=reader.integer("REPORT_MAILS_PER_HOUR", 60, 1, 100_000),
            keep_days=reader.integer("REPORT_KEEP_DAYS", 30, 1, 3650),
        ),
        server=read_server(reader),
        drill=reader.boolean("DRILL", False),
        trusted_proxies=reader.integer("TRUSTED_PROXIES", 0, 0, 10),
        mail_ui=_mail_ui(reader, mail.server),
    )


def _read_mail(reader: SettingsReader, instance: Path) -> MailSettings:
    server = reader.line("MAIL_SERVER") or None
    default_sender = f"no-reply@{server or 'localhost'}"
    return MailSettings(
        server=server,
        port=reader.integer("MAIL_PORT", 25, 1, 65535),
        use_tls=reader.boolean("MAIL_USE_TLS", False),
        use_ssl=reader.boolean("MAIL_USE_SSL", False),
        username=reader.line("MAIL_USERNAME") or None,
        password=reader.secret("MAIL_PASSWORD"),
        sender=reader.line("MAIL_FROM") or reader.sender("MAIL_DEFAULT_SENDER") or default_sender,
        timeout=reader.integer("MAIL_TIMEOUT", 10, 1, 300),
        admins=reader.addresses("ADMINS"),
        ca_file=_ca_file(reader, instance),
        helo_name=reader.line("MAIL_HELO_NAME") or None,
    )


def read_server(reader: SettingsReader) -> ServerSettings:
    """Return the settings that gunicorn's configuration uses."""
    return ServerSettings(
        request_timeout=reader.integer("REQUEST_TIMEOUT", 30, 1, 3600),
        workers=reader.integer("WEB_CONCURRENCY", 2, 1, 128),
        threads=reader.integer("WEB_THREADS", 4, 1, 256),
    )


def _ca_file(reader: SettingsReader, instance: Path) -> Path | None:
    """Return ``MAIL_CA_FILE``; an empty file counts as none, so that it can always be mounted."""
    text = reader.line("MAIL_CA_FILE")
    path = instance / text
    try:
        if not text or not path.read_text("ascii").strip():
            return None
        ssl.create_default_context(cafile=path)
    except (OSError, UnicodeDecodeError) as error:
        reason = f" ({error.strerror})" if isinstance(error, FileNotFoundError) else ""
        fix = f"name a readable file with CA certificates in PEM format{reason}."
        reader.problem("MAIL_CA_FILE", text, fix)
        return None
    return path


def _mail_ui(reader: SettingsReader, server: str | None) -> str | None:
    port = reader.integer("MAILHOG_PORT", 8025, 1, 65535)
    return f"http://127.0.0.1:{port}" if server == "mailhog" else None


def _check_mail(reader: SettingsReader, mail: MailSettings) -> None:
    if mail.server and not mail.admins:
        reader.problem(
            "ADMINS", None, "MAIL_SERVER is set, so name the addresses that receive error mails."
        )
    if mail.use_tls and mail.use_ssl:
        reader.problems.append(
            "MAIL_USE_TLS and MAIL_USE_SSL are both on: use MAIL_USE_TLS for STARTTLS "
            "(port 587) or MAIL_USE_SSL for TLS from the first byte (port 465)."
        )
    if mail.username and not mail.password:
        reader.problem(
            "MAIL_PASSWORD",
            None,
            "MAIL_USERNAME is set, and logging in needs it: set it, or write it to the file that "
            "MAIL_PASSWORD_FILE names (secrets/mail_password in the stack).",
        )
    if "\0" in (mail.password or ""):
        reader.problems.append("MAIL_PASSWORD contains a NUL, which no login can send: remove it.")
    if mail.server and not is_host(mail.server):
        reader.problem(
            "MAIL_SERVER",
            mail.server,
            "use a host name or an IP address alone; the port goes in MAIL_PORT.",
        )
    if mail.helo_name and not HELO_NAME.fullmatch(mail.helo_name):
        reader.problem(
            "MAIL_HELO_NAME", mail.helo_name, "use a full host name such as www.example.com."
        )
    if not is_address(mail.sender):
        reader.problem("MAIL_FROM", mail.sender, "use one address such as no-reply@example.com.")


def _check_drill(reader: SettingsReader, drill: bool) -> None:
    host = reader.line("HTTP_BIND") or "127.0.0.1"
    if drill and not is_loopback(host):
        reader.problem(
            "DRILL",
            reader.line("DRILL"),
            f"anybody who reaches HTTP_BIND={host} could break this site; "
            "set DRILL=0, or HTTP_BIND=127.0.0.1.",
        )


@dataclass(frozen=True, slots=True)
class _Value:
    """A value as it was found: ``name`` says where; ``shared`` with other libraries."""

    name: str
    text: str
    shared: bool = False


class SettingsReader:
    """Takes typed values from an app's configuration and an environment, collecting problems.

    Each method takes the setting's name without prefix and returns its value, or the default
    where it is unset or invalid. :meth:`finish` raises what was found to be wrong.
    """

    def __init__(self, config: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self.config = config
        self.environ = environ
        self.problems: list[str] = []

    def finish(self) -> None:
        """Raise :exc:`ConfigurationError` if any value was invalid."""
        if self.problems:
            raise ConfigurationError(self.problems)

    def problem(self, name: str, value: str | None, fix: str) -> None:
        """Record that ``name`` cannot have ``value`` (``None``: that it is not set)."""
        shown = "is not set" if value is None else f"is {value!r}"
        self.problems.append(f"{name} {shown}: {fix}")

    def line(self, name: str) -> str:
        """Return a text without surrounding white space; control characters are refused."""
        return self._first(name, _printable, "use printable characters.") or ""

    def boolean(self, name: str, default: bool) -> bool:
        """Return whether a setting is on."""
        found = self._first(name, _boolean, "use 1, true, yes or on, or 0, false, no or off.")
        return default if found is None else found

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""

        def convert(text: str) -> int | None:
            good = re.fullmatch(r"-?[0-9]{1,18}", text) and low <= int(text) <= high
            return int(text) if good else None

        found = self._first(name, convert, f"use a whole number from {low} to {high}.")
        return default if found is None else found

    def choice(
        self, name: str, default: str, allowed: tuple[str, ...], fold: Callable[[str], str]
    ) -> str:
        """Return one of ``allowed``, regardless of case."""

        def convert(text: str) -> str | None:
            return fold(text) if fold(text) in allowed else None

        return self._first(name, convert, f"use one of {', '.join(allowed)}.") or default

    def path(self, name: str, base: Path, default: str) -> Path:
        """Return a folder; a relative one starts at ``base``."""
        return (base / (self.line(name) or default)).absolute()

    def file_name(self, name: str, default: str) -> str:
        """Return the name of a file, without a folder."""

        def convert(text: str) -> str | None:
            return text if Path(text).name == text else None

        return self._first(name, convert, "use a file name without a folder.") or default

    def items(self, name: str) -> tuple[str, ...]:
        """Return the parts of a comma-separated list."""
        return _split(self.line(name))

    def sender(self, name: str) -> str:
        """Return the address of Flask-Mail's sender, which may be a pair of name and address."""
        value = self.config.get(name)
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return str(value[1])
        return self.line(name)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return mail addresses."""
        fix = "write comma-separated mail addresses such as admin@example.com."
        return self._first(name, _addresses, fix, _first_bad_address) or ()

    def secret(self, name: str) -> str | None:
        """Return a secret, from ``name`` or from the file that ``<name>_FILE`` names."""
        files = self._sources(f"{name}_FILE")
        for value, file in zip(self._sources(name), files, strict=True):
            if value.text and file.text.strip():
                self.problems.append(
                    f"{value.name} and {file.name} are both set: keep one of them."
                )
            if file.text.strip():
                return self._content(file)
            if value.text:
                return value.text  # unstripped: white space may be part of a password
        return None

    def _content(self, file: _Value) -> str | None:
        try:
            return Path(file.text.strip()).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.problem(file.name, file.text, f"it cannot be read ({reason}).")
            return None

    def _sources(self, name: str) -> tuple[_Value, ...]:
        """Return what each source has under ``name``, the most specific first."""
        prefixed = PREFIX + name
        return (
            _Value(prefixed, self.environ.get(prefixed, "")),
            _Value(prefixed, _as_text(self.config.get(prefixed))),
            _Value(name, _as_text(self.config.get(name)), shared=True),
            _Value(name, self.environ.get(name, "")),
        )

    def _first(
        self,
        name: str,
        convert: Callable[[str], T | None],
        fix: str,
        shown: Callable[[str], str] = str,
    ) -> T | None:
        """Return the first value that is set, converted; an invalid one is a problem."""
        for value in self._sources(name):
            if not value.text.strip():
                continue
            converted = convert(value.text.strip())
            if converted is not None:
                return converted
            if not value.shared:
                self.problem(value.name, shown(value.text), fix)
                return None
            logger.warning(
                "app.config[%r] is %r, which Flask Mayday ignores: %s Set %s%s if it is meant "
                "for Flask Mayday.",
                value.name,
                shown(value.text),
                fix,
                PREFIX,
                name,
            )
        return None


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(str(item) for item in value)
    return str(value)


def _printable(text: str) -> str | None:
    return text if text.isprintable() else None


def _boolean(text: str) -> bool | None:
    return text.lower() in TRUE if text.lower() in TRUE | FALSE else None


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _addresses(text: str) -> tuple[str, ...] | None:
    parts = _split(text)
    return parts if all(map(is_address, parts)) else None


def _first_bad_address(text: str) -> str:
    return next(part for part in _split(text) if not is_address(part))


def is_address(text: str) -> bool:
    """Return whether ``text`` is an address that a mail's header can hold (RFC 5322)."""
    if not ADDRESS.fullmatch(text):
        return False
    try:
        Address(addr_spec=text)
    except (HeaderParseError, ValueError, IndexError):
        return False
    return True


def is_host(text: str) -> bool:
    """Return whether ``text`` can be a host name or an IP address, without scheme and port."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        try:
            return not set(":/@[] ") & set(text.encode("idna").decode("ascii"))
        except UnicodeError:
            return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is an address or a name of this machine's loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
