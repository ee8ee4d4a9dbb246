"""The settings in groups, one for each part of the extension that uses them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from .time_limits import TimeLimits

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

TOKEN_LENGTH: Final = 20  # characters; parts of a webhook's path from this length on are masked too


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The app's identity in mails and reports: name, environment, release."""

    name: str
    environment: str
    release: str
    own_code: tuple[str, ...]  # folders and packages, besides the app's root path
    log_hint: str = ""  # how to see a request's log lines; {request_id} stands for its id
    node: str = ""  # the machine, if there are several

    @property
    def label(self) -> str:
        """The name as a mail's subject shows it: with the environment, unless in production."""
        if self.environment == "production":
            return self.name
        return f"{self.name} {self.environment}"


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where error mails go; none is sent if ``server`` is ``None``. ``timeout`` is in seconds."""

    server: str | None
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    password: str | None = field(repr=False)
    sender: str
    timeout: float
    admins: tuple[str, ...]
    ca_file: Path | None = None  # CAs to trust in addition to the system's
    helo_name: str | None = None  # by default the host's own name


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The second channel for error reports; nothing is posted if ``url`` is ``None``.

    ``format`` is slack, mattermost, discord, ntfy or json. The host must have a public address, or
    one in the networks ``allow``.
    """

    url: str | None = field(default=None, repr=False)
    format: str = "json"
    allow: tuple[IPv4Network | IPv6Network, ...] = ()

    @property
    def host(self) -> str:
        """The host of the URL, which is not secret; empty without a URL."""
        return urlsplit(self.url).hostname or "" if self.url else ""

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The URL, and the part of it after the host, which holds the token."""
        if not self.url:
            return ()
        parts = urlsplit(self.url)
        tail = self.url[self.url.index(parts.netloc) + len(parts.netloc) :]
        tokens = [part for part in parts.path.split("/") if len(part) >= TOKEN_LENGTH]
        return tuple(dict.fromkeys((self.url, tail, parts.path, *tokens)))


@dataclass(frozen=True, slots=True)
class AgreementSettings:
    """How the couriers of several machines agree; off where ``url`` is ``None``.

    ``url`` names a PostgreSQL database. ``user`` and ``password``, if set, replace those in it.
    """

    url: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    node: str = ""

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The passwords."""
        in_url = (urlsplit(self.url).password if self.url else None) or ""
        return tuple(one for one in (self.password, in_url, unquote(in_url)) if one)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The rotating log. ``max_bytes`` limits one file; ``slow_ms`` is in milliseconds."""

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
    """Where reports wait for delivery; ``max_bytes`` limits the whole folder."""

    folder: Path
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How often mails are sent, and how long reports are kept: ``window`` is in seconds.

    ``summary`` is ``weekly`` if a summary is mailed each week, else ``off``.
    """

    window: float
    mails_per_hour: int
    keep_days: int
    summary: str = "off"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the gunicorn configuration uses; ``request_timeout`` in seconds.

    ``peers`` are the hosts that may connect; if empty, all may. Everybody may connect to
    ``status_port``, which serves health checks and, with ``metrics``, metrics only; 0 switches it
    off.
    """

    request_timeout: float
    workers: int
    threads: int
    peers: tuple[str, ...] = ()
    status_port: int = 0
    metrics: bool = False

    @property
    def limits(self) -> TimeLimits:
        """All time limits, which follow from ``request_timeout``."""
        return TimeLimits(self.request_timeout)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """What the ``watch`` process requests and reads; ``None`` switches a part off."""

    site_url: str | None = None  # requested through nginx, as by a visitor
    https_port: int = 443  # used instead of the URL's when the site redirects to HTTPS
    ready_url: str | None = None  # the app's readiness check, at every address of its host
    edge_log: Path | None = None  # the folder in which nginx records the error pages that it sends
    heartbeat_url: str | None = field(default=None, repr=False)
    metrics: tuple[str, int] | None = None  # host and port at which to serve metrics

    @property
    def checks_site(self) -> bool:
        """Whether there is anything to request."""
        return bool(self.site_url or self.ready_url)

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The heartbeat's URL, and its path, in which monitoring services put a token."""
        if self.heartbeat_url is None:
            return ()
        path = "/" + self.heartbeat_url.split("://", 1)[-1].partition("/")[2]
        return (self.heartbeat_url, path)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, after validation."""

    app: AppSettings
    mail: MailSettings
    log: LogSettings
    spool: SpoolSettings
    reports: ReportSettings
    server: ServerSettings
    drill: bool
    trusted_proxies: int
    mail_ui: str | None  # the URL at which MailHog shows the mails, if it is the server
    secret_names: tuple[str, ...] = ()  # names of fields to mask, in addition to the built-in ones
    watch: WatchSettings = WatchSettings()
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    agreement: AgreementSettings = field(default_factory=AgreementSettings)

    def __str__(self) -> str:
        """Return the settings that are not secret as ``NAME=value``, for the log."""
        shown: dict[str, object] = {
            "APP_NAME": self.app.name,
            "ENVIRONMENT": self.app.environment,
            "RELEASE": self.app.release or "unknown",
            "NODE_NAME": self.app.node,
            "COURIERS_AGREE": self.agreement.url is not None,
            "MAIL_SERVER": self.mail.server,
            "MAIL_PORT": self.mail.port,
            "MAIL_USE_TLS": self.mail.use_tls,
            "MAIL_USE_SSL": self.mail.use_ssl,
            "MAIL_USERNAME": self.mail.username,
            "MAIL_FROM": self.mail.sender,
            "MAIL_TIMEOUT": self.mail.timeout,
            "ADMINS": ",".join(self.mail.admins),
            "LOG_DIR": self.log.folder,
            "LOG_FILE": self.log.file_name,
            "LOG_MAX_BYTES": self.log.max_bytes,
            "LOG_BACKUP_COUNT": self.log.backup_count,
            "LOG_LEVEL": self.log.level,
            "LOG_FORMAT": self.log.format,
            "LOG_SLOW_MS": self.log.slow_ms,
            "SPOOL_DIR": self.spool.folder,
            "SPOOL_MAX_BYTES": self.spool.max_bytes,
            "REPORT_WINDOW": self.reports.window,
            "REPORT_MAILS_PER_HOUR": self.reports.mails_per_hour,
            "REPORT_KEEP_DAYS": self.reports.keep_days,
            "REPORT_SUMMARY": self.reports.summary,
            "REPORT_WEBHOOK": f"{self.webhook.format} at {self.webhook.host}"
            if self.webhook.url
            else "off",
            "REQUEST_TIMEOUT": self.server.request_timeout,
            "METRICS": self.server.metrics,
            "DRILL": self.drill,
            "TRUSTED_PROXIES": self.trusted_proxies,
        }
        return " ".join(f"{name}={value}" for name, value in shown.items())

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The values among the settings that must never leave the process."""
        passwords = (self.mail.password,) if self.mail.password else ()
        return (
            *passwords,
            *self.watch.secret_values,
            *self.webhook.secret_values,
            *self.agreement.secret_values,
        )
