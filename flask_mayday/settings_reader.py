"""Reads typed settings from an app's configuration and the environment, collecting problems."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import click

from .folders import writable_base

TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})
PREFIX: Final = "MAYDAY_"
# Printable ASCII: few mail servers accept more (RFC 6531), and MailHog does not.
ADDRESS: Final = re.compile(r"[!#-+.-;=?A-~-]+@[!#-+.-;=?A-~-]+")

T = TypeVar("T")

logger = logging.getLogger("flask_mayday.settings")


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
class _Value:
    """A raw value and the name under which it was found; ``shared`` if others may use that name."""

    name: str
    text: str
    shared: bool = False


class SettingsReader:
    """Reads typed values from an app's configuration and an environment, collecting problems.

    Each method takes the setting's name without prefix and returns its value, or the default
    if it is unset or invalid. :meth:`finish` raises if any was invalid.
    """

    def __init__(self, config: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self.config = config
        self.environ = environ
        self.problems: list[str] = []
        self.invalid: set[str] = set()  # the names of settings with a problem
        self._warned_of: set[Path] = set()

    def finish(self) -> None:
        """Raise :exc:`ConfigurationError` if any value was invalid."""
        if self.problems:
            raise ConfigurationError(dict.fromkeys(self.problems))  # one may be found twice

    def problem(self, name: str, value: str | None, fix: str) -> None:
        """Record that ``name`` cannot have ``value`` (``None``: that it is not set)."""
        shown = "is not set" if value is None else f"is {value!r}"
        self.invalid.add(name)
        self.problems.append(f"{name} {shown}: {fix}")

    def line(self, name: str) -> str:
        """Return a string without surrounding white space; control characters are refused."""
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

    def folder(self, setting: str, instance: Path, default: str, app: str) -> Path:
        """Return a folder; a relative one starts at ``instance``.

        The default is ``default`` in ``instance``, or in the state folder of ``app`` if the
        instance folder cannot be written, with one warning for all such folders.
        """
        if text := self.line(setting):
            return (instance / text).absolute()
        base = writable_base(instance.absolute(), default, app, self.environ)
        if base != instance.absolute() and base not in self._warned_of:
            self._warned_of.add(base)
            logger.warning("%s cannot be written: using %s", instance.absolute(), base)
        return base / default

    def host_and_port(self, name: str) -> tuple[str, int] | None:
        """Return a host and a port, such as ``127.0.0.1:8002`` or ``[::1]:8002``."""
        text = self.line(name)
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        is_port = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536
        if text and not (host and is_host(host) and is_port):
            self.problem(name, text, "use a host and a port, such as 127.0.0.1:8002.")
            return None
        return (host, int(port)) if text else None

    def file_name(self, name: str, default: str) -> str:
        """Return the name of a file, without a folder."""

        def convert(text: str) -> str | None:
            is_name = Path(text).name == text != ".." and text.isprintable()
            return text if is_name else None

        return self._first(name, convert, "use a file name without a folder.") or default

    def items(self, name: str) -> tuple[str, ...]:
        """Return the parts of a comma-separated list."""
        return _split(self.line(name))

    def sender(self, name: str) -> str:
        """Return the address of Flask-Mail's sender, which may be a pair of name and address."""
        return self._first(name, _sender, "use an address such as no-reply@example.com.") or ""

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

    def secret_lines(self, name: str) -> list[str]:
        """Return the secrets in ``name`` or in its file, one per line; blank lines do not count."""
        return [line for line in (self.secret(name) or "").splitlines() if line.strip()]

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


def _sender(text: str) -> str | None:
    # "Name <address>", or the pair "Name,address": a name may have commas too.
    found = (parseaddr(part)[1] for part in (text, text.rpartition(",")[2]))
    return next(filter(is_address, found), None)


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


def is_http_url(text: str) -> bool:
    """Return whether ``text`` is an absolute URL for HTTP, in printable ASCII without spaces."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and " " not in text and port != 0
    return is_plain and parts.scheme in ("http", "https") and bool(host) and is_host(host)


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is an address or a name of this machine's loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
