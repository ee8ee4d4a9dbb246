"""Fixtures: a courier on a simulated clock, and mail servers with scripted replies."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from flask_mayday.report.report import Report
from flask_mayday.settings import Settings, read_settings
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.compose import free_port
from tests.support.reports import a_delivery

START = 1_767_225_600.0  # 2026-01-01
ADMINS = "first@microblog.example,second@microblog.example"
COMMANDS = ("greeting", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "content")
COMMANDS += ("RSET", "QUIT")
LOGIN = {"MAIL_USERNAME": "blog", "MAIL_PASSWORD": "correct-horse-battery"}


class SimulatedCourier:
    """A spool and its courier on a simulated clock."""

    def __init__(self, settings: Settings) -> None:
        self.now = START
        self.outbox = Outbox(settings.spool.folder, settings.spool.max_bytes)
        self.mailbox = Mailbox(self.outbox)
        self.settings = settings
        self.start_delivery(settings)

    def start_delivery(self, settings: Settings) -> None:
        """Create the delivery loop, as a process does that opens an existing spool."""
        self.delivery = a_delivery(self.mailbox, settings, clock=lambda: self.now)

    def fail(self, kind: str) -> None:
        """Put a report with the fingerprint ``kind`` in the outbox."""
        empty: dict[str, Any] = dict.fromkeys(Report.__slots__, "")
        fields = {"uuid": uuid.uuid4().hex, "time": self.now, "fingerprint": kind}
        about = {"type": "ValueError", "message": kind, "request": None, "process": 1}
        report = Report(**{**empty, **fields, **about, "request_id": uuid.uuid4().hex})
        self.outbox.put(report, mailable=True)

    def deliver_after(self, seconds: float) -> None:
        """Advance the clock by ``seconds`` and run one delivery."""
        self.now += seconds
        self.delivery.run(self.now)

    def column(self, name: str) -> list[Any]:
        """Return the column ``name`` of every mail, oldest first."""
        rows = self.mailbox.connection.execute(f"SELECT {name} FROM mails ORDER BY id")
        return [value for (value,) in rows]

    def waits(self) -> list[float]:
        """Return the seconds until the next try of each waiting mail."""
        rows = self.mailbox.connection.execute(
            "SELECT next_try FROM mails WHERE state = 'waiting' ORDER BY id"
        )
        return [moment - self.now for (moment,) in rows]

    def recipients(self) -> list[list[str]]:
        return [json.loads(text) for text in self.column("recipients")]

    def close(self) -> None:
        self.mailbox.close()
        self.outbox.close()


@pytest.fixture
def make_courier(settings: dict[str, object]) -> Iterator[Callable[..., SimulatedCourier]]:
    """Return a factory of couriers, each with a spool: ``make_courier(MAIL_PORT=25)``."""
    with contextlib.ExitStack() as made:

        def make(**overrides: object) -> SimulatedCourier:
            courier = SimulatedCourier(read_settings({**settings, **overrides}))
            made.callback(courier.close)
            return courier

        yield make


@dataclass
class ScriptedServer:
    """A mail server that replies from ``script`` and accepts every step that is not in it.

    The steps are ``greeting``, the SMTP commands, and ``content``. A reply is bytes, or a function
    that gets the connection and the argument of the step and returns bytes.
    """

    script: dict[str, bytes | Callable[..., bytes]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None  # after STARTTLS
    otherwise: Callable[..., bytes] | None = None  # for a line that is not an SMTP command
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)  # every line of every command
    mails: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def settings(self) -> dict[str, object]:
        """The app's settings for this server."""
        return {
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": self.listener.getsockname()[1],
            "MAIL_FROM": "no-reply@microblog.example",
            "ADMINS": ADMINS,
        }

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.taken.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._answer(connection, "greeting", b"220 mail.example\r\n")
            self._converse(connection, connection.makefile("rb"))
        with contextlib.suppress(OSError):
            connection.close()

    def _converse(self, connection: socket.socket, commands: Any) -> None:
        recipients: list[str] = []
        while line := commands.readline():
            self.heard.append(line)
            verb = line.split(b" ")[0].strip().upper().decode()
            address = line.partition(b"<")[2].partition(b">")[0].decode()
            said = self._answer(connection, verb, self._usual(verb), address)
            if verb == "RCPT" and said.startswith(b"250"):
                recipients.append(address)
            elif verb == "DATA" and said.startswith(b"354"):
                self._take_content(connection, commands, tuple(recipients))
                recipients = []
            elif verb == "RSET":
                recipients = []
            elif verb == "STARTTLS" and self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self.taken.append(connection)
                commands = connection.makefile("rb")
            elif verb == "QUIT":
                return

    def _take_content(
        self, connection: socket.socket, commands: Any, recipients: tuple[str, ...]
    ) -> None:
        content = b"".join(iter(commands.readline, b".\r\n"))
        if self._answer(connection, "content", b"250 taken\r\n", content).startswith(b"250"):
            self.mails.append((recipients, content))

    def _usual(self, verb: str) -> bytes:
        if verb == "EHLO":
            return b"250-mail.example\r\n250-AUTH PLAIN\r\n250 SIZE 1000000\r\n"
        return {"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(verb, b"250 fine\r\n")

    def _answer(self, connection: socket.socket, step: str, usual: bytes, *about: Any) -> bytes:
        said = self.script.get(step, usual)
        if step not in COMMANDS and self.otherwise is not None:
            said = self.otherwise
        if callable(said):
            said = said(connection, *about) or usual
        connection.sendall(said)
        if said.startswith(b"421"):
            connection.shutdown(socket.SHUT_WR)
        return said

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.taken:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """Run a mail server whose replies a test sets."""
    server = ScriptedServer()
    yield server
    server.close()


@dataclass(frozen=True)
class Authority:
    """A CA for the tests, and the certificates that it issued."""

    folder: Path

    def make(self, name: str, subject: str, days: int = 2) -> None:
        """Make a key and a certificate; a negative ``days`` makes an expired one."""
        key, request, names = (self.folder / f"{name}.{end}" for end in ("key", "csr", "ext"))
        names.write_text(f"subjectAltName={subject}\n")
        self._openssl("req", *_NEW_KEY, key, "-out", request, "-subj", "/CN=mail.example")
        authority = ("-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key")
        self._openssl(
            *("x509", "-req", "-in", request, *authority, "-CAcreateserial"),
            *("-days", str(days), "-extfile", names, "-out", self.folder / f"{name}.pem"),
        )

    def make_itself(self) -> None:
        """Make the CA."""
        made = ("-keyout", self.folder / "ca.key", "-out", self.folder / "ca.pem")
        use = ("-addext", "keyUsage=critical,keyCertSign")  # Python 3.13 requires it
        self._openssl("req", "-x509", *_NEW_KEY[:-1], *made, *use, "-subj", "/CN=CA of the tests")

    def context(self, name: str) -> ssl.SSLContext:
        """Return the TLS context of a server with the certificate ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def _openssl(self, *arguments: object) -> None:
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a CA with a valid certificate, an expired one, and one for another host."""
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.make_itself()
    made.make("good", "IP:127.0.0.1")
    made.make("expired", "IP:127.0.0.1", days=-1)
    made.make("elsewhere", "DNS:other.example")
    return made


class Server:
    """An aiosmtpd server (plain, STARTTLS or implicit TLS) that records logins and mails."""

    def __init__(self, kind: str, context: ssl.SSLContext | None, *, login: bool) -> None:
        self.mails: list[tuple[bytes | None, bool]] = []  # user, and whether encrypted
        self.passwords: list[bytes] = []
        options: dict[str, Any] = {"ssl_context": context} if kind == "tls" else {}
        if kind == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        if login:
            options |= {"authenticator": self.authenticate, "auth_required": True}
            options |= {"auth_require_tls": kind == "starttls"}
        self.kind = kind
        port = free_port()
        self.controller = Controller(
            self, hostname="127.0.0.1", port=port, ready_timeout=60, **options
        )
        if kind == "tls":
            self.controller._trigger_server = lambda: _knock(port)  # type: ignore[method-assign]
        self.controller.start()
        self.settings: dict[str, object] = {
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": port,
            "MAIL_FROM": "no-reply@microblog.example",
            "ADMINS": ADMINS,
            "MAIL_USE_TLS": kind == "starttls",
            "MAIL_USE_SSL": kind == "tls",
            "MAIL_TIMEOUT": 20,
        }

    def authenticate(self, server: Any, session: Any, envelope: Any, how: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password)
        good = data.password == str(LOGIN["MAIL_PASSWORD"]).encode()
        return AuthResult(success=good, handled=False, auth_data=data.login)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        encrypted = self.kind == "tls" or session.ssl is not None
        self.mails.append((session.auth_data, encrypted))
        return "250 OK"


def _knock(port: int) -> None:
    """Connect once, as aiosmtpd does to test its server, which does not know our CA."""
    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        context.wrap_socket(connection) as encrypted,
    ):
        assert encrypted.recv(100).startswith(b"220")


@pytest.fixture
def make_server(authority: Any) -> Iterator[Callable[..., Server]]:
    """Return a factory: ``make_server("starttls", "expired", login=True)``."""
    made: list[Server] = []

    def make(kind: str, certificate: str = "good", *, login: bool = False) -> Server:
        context = None if kind == "plain" else authority.context(certificate)
        made.append(Server(kind, context, login=login))
        return made[-1]

    yield make
    for server in made:
        server.controller.stop()


@pytest.fixture
def trusted(authority: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the tests' CA."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.folder / "ca.pem"))
