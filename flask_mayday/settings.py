"""The settings of the extension: typed, and validated once, at :meth:`Mayday.init_app`."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from .agreement_settings import read_agreement
from .setting_groups import (
    AgreementSettings,
    AppSettings,
    LogSettings,
    MailSettings,
    ReportSettings,
    ServerSettings,
    Settings,
    SpoolSettings,
    WatchSettings,
    WebhookSettings,
)
from .settings_reader import (
    TRUE,
    ConfigurationError,
    SettingsReader,
    is_address,
    is_host,
    is_http_url,
    is_loopback,
)

__all__ = [
    "TRUE",
    "AgreementSettings",
    "AppSettings",
    "ConfigurationError",
    "LogSettings",
    "MailSettings",
    "ReportSettings",
    "ServerSettings",
    "Settings",
    "SettingsReader",
    "SpoolSettings",
    "WatchSettings",
    "WebhookSettings",
    "is_loopback",
    "read_server",
    "read_settings",
]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
WEBHOOK_FORMATS: Final = ("slack", "mattermost", "discord", "ntfy", "json")
# The format that the host of the webhook's address suggests; for any other host it is JSON.
HOSTS_OF_FORMATS: Final = {
    "slack": re.compile(r"(?:.*\.)?slack(?:-gov)?\.com"),
    "discord": re.compile(r"(?:.*\.)?discord(?:app)?\.com"),
    "mattermost": re.compile(r"(?:.*[.-])?mattermost(?:[.-].*)?"),
    "ntfy": re.compile(r"(?:.*[.-])?ntfy(?:[.-].*)?"),
}
HELO_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Za-z.:]+\]")


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
    string count as unset. An invalid ``<NAME>`` in ``config`` may belong to another library: it is
    ignored with a warning. Relative folders start at ``instance_path``.

    Raises :exc:`ConfigurationError` with every problem found, not just the first.
    """
    reader = SettingsReader(config or {}, os.environ if environ is None else environ)
    settings = _read(reader, import_name, instance_path or Path.cwd() / "instance")
    _check_mail(reader, settings.mail)
    _check_drill(reader, settings.drill)
    _check_metrics(reader, settings.server.metrics)
    reader.finish()
    return settings


def _read(reader: SettingsReader, import_name: str, instance: Path) -> Settings:
    name = import_name.rpartition(".")[2] if import_name != "__main__" else "app"
    mail = _read_mail(reader, instance)
    log = LogSettings(
        folder=reader.folder("LOG_DIR", instance, "logs", name),
        file_name=reader.file_name("LOG_FILE", f"{name}.log"),
        max_bytes=reader.integer("LOG_MAX_BYTES", 10240, 1024, 1 << 40),
        backup_count=reader.integer("LOG_BACKUP_COUNT", 10, 1, 1_000_000),
        level=reader.choice("LOG_LEVEL", "INFO", LEVELS, str.upper),
        format=reader.choice("LOG_FORMAT", "text", ("text", "json"), str.lower),
        slow_ms=reader.integer("LOG_SLOW_MS", 1000, 1, 3_600_000),
    )
    return Settings(
        app=_read_app(reader, name, log),
        mail=mail,
        log=log,
        spool=SpoolSettings(
            folder=reader.folder("SPOOL_DIR", instance, "spool", name),
            max_bytes=reader.integer("SPOOL_MAX_BYTES", 256 << 20, 1 << 20, 1 << 40),
        ),
        reports=ReportSettings(
            window=reader.integer("REPORT_WINDOW", 300, 1, 86_400),
            mails_per_hour=reader.integer("REPORT_MAILS_PER_HOUR", 60, 1, 100_000),
            keep_days=reader.integer("REPORT_KEEP_DAYS", 30, 1, 3650),
            summary=reader.choice("REPORT_SUMMARY", "off", ("off", "weekly"), str.lower),
        ),
        server=read_server(reader),
        drill=reader.boolean("DRILL", False),
        trusted_proxies=reader.integer("TRUSTED_PROXIES", 0, 0, 10),
        mail_ui=_mail_ui(reader, mail.server),
        secret_names=reader.items("SECRET_NAMES"),
        watch=_read_watch(reader, instance),
        webhook=_read_webhook(reader),
        agreement=read_agreement(reader),
    )


def _read_app(reader: SettingsReader, name: str, log: LogSettings) -> AppSettings:
    return AppSettings(
        name=reader.line("APP_NAME") or name,
        environment=reader.line("ENVIRONMENT") or "production",
        release=reader.line("RELEASE"),
        own_code=reader.items("OWN_CODE"),
        log_hint=reader.line("LOG_HINT") or f"grep {{request_id}} {log.path}*",
        node=reader.line("NODE_NAME"),
    )


def _read_mail(reader: SettingsReader, instance: Path) -> MailSettings:
    server = reader.line("MAIL_SERVER") or None
    default_sender = f"no-reply@{server if server and is_host(server) else 'localhost'}"
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


def _read_webhook(reader: SettingsReader) -> WebhookSettings:
    allow = []
    for item in reader.items("WEBHOOK_ALLOW"):
        try:
            allow.append(ipaddress.ip_network(item, strict=False))
        except ValueError:
            fix = "use networks such as 10.0.0.0/8, separated by commas."
            reader.problem("WEBHOOK_ALLOW", item, fix)
    wanted = reader.choice("REPORT_WEBHOOK_FORMAT", "", WEBHOOK_FORMATS, str.lower)
    url = (reader.secret("REPORT_WEBHOOK_URL") or "").strip() or None
    if url is None:
        return WebhookSettings(allow=tuple(allow))
    host = _host_of_url(url)
    if host is None:
        # The value is a secret, so the message does not show it.
        reader.problems.append(
            "REPORT_WEBHOOK_URL cannot be used: write an address such as "
            "https://hooks.example.com/token, with printable ASCII characters, a host, and neither "
            "a user name nor a fragment."
        )
        return WebhookSettings(allow=tuple(allow))
    guessed = (name for name, pattern in HOSTS_OF_FORMATS.items() if pattern.fullmatch(host))
    return WebhookSettings(url, wanted or next(guessed, "json"), tuple(allow))


def _host_of_url(url: str) -> str | None:
    """Return the host of a webhook's address; ``None`` if the address cannot be used."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return None
    is_plain = url.isascii() and url.isprintable() and " " not in url and "#" not in url
    if parts.scheme not in ("http", "https") or not is_plain or port == 0 or "@" in parts.netloc:
        return None
    return host if host and is_host(host) else None


def read_server(reader: SettingsReader) -> ServerSettings:
    """Return the settings that gunicorn's configuration uses."""
    return ServerSettings(
        request_timeout=reader.integer("REQUEST_TIMEOUT", 30, 1, 3600),
        workers=reader.integer("WEB_CONCURRENCY", 2, 1, 128),
        threads=reader.integer("WEB_THREADS", 4, 1, 256),
        peers=reader.items("WEB_PEERS"),
        status_port=reader.integer("STATUS_PORT", 0, 0, 65535),
        metrics=reader.boolean("METRICS", False),
    )


def _read_watch(reader: SettingsReader, instance: Path) -> WatchSettings:
    urls = {name: reader.line(name) or None for name in ("WATCH_URL", "WATCH_READY_URL")}
    for name, url in urls.items():
        if url is not None and not is_http_url(url):
            reader.problem(name, url, "use a URL such as http://nginx:8080.")
    heartbeat = (reader.secret("HEARTBEAT_URL") or "").strip() or None
    if heartbeat is not None and not is_http_url(heartbeat):
        reader.problems.append(
            "HEARTBEAT_URL cannot be used: it must begin with https:// or http://, name a host, "
            "and have no spaces. (It is not shown here, because it may hold a token.)"
        )
    edge_log = reader.line("WATCH_EDGE_LOG")
    return WatchSettings(
        site_url=urls["WATCH_URL"],
        https_port=reader.integer("WATCH_HTTPS_PORT", 443, 1, 65535),
        ready_url=urls["WATCH_READY_URL"],
        edge_log=(instance / edge_log).absolute() if edge_log else None,
        heartbeat_url=heartbeat,
        metrics=reader.host_and_port("WATCH_METRICS"),
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
    is_invalid = not reader.invalid.isdisjoint(("ADMINS", "MAYDAY_ADMINS"))
    if mail.server and not mail.admins and not is_invalid:
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
            "MAIL_USERNAME is set, so a password is needed. Set it, or write it to the file that "
            "MAIL_PASSWORD_FILE names (secrets/mail_password in the stack).",
        )
    if "\0" in (mail.password or ""):
        reader.problems.append("MAIL_PASSWORD contains a NUL, which no login can send: remove it.")
    if mail.server and not is_host(mail.server):
        fix = "use a host name or an IP address alone; the port goes in MAIL_PORT."
        reader.problem("MAIL_SERVER", mail.server, fix)
    if mail.helo_name and not HELO_NAME.fullmatch(mail.helo_name):
        fix = "use a full host name such as www.example.com."
        reader.problem("MAIL_HELO_NAME", mail.helo_name, fix)
    if not is_address(mail.sender):
        sender = reader.line("MAIL_FROM") or None
        why = "" if sender else f"{mail.sender}, the default, is not an address; "
        reader.problem("MAIL_FROM", sender, f"{why}use one address such as no-reply@example.com.")


def _check_drill(reader: SettingsReader, drill: bool) -> None:
    host = reader.line("HTTP_BIND") or "127.0.0.1"
    if drill and not is_loopback(host):
        reader.problem(
            "DRILL",
            reader.line("DRILL"),
            f"anybody who reaches HTTP_BIND={host} could break this site; "
            "set DRILL=0, or HTTP_BIND=127.0.0.1.",
        )


def _check_metrics(reader: SettingsReader, metrics: bool) -> None:
    if metrics and importlib.util.find_spec("prometheus_client") is None:
        fix = "prometheus-client is missing; install it: pip install 'flask-mayday[metrics]'."
        reader.problem("METRICS", reader.line("METRICS"), fix)
