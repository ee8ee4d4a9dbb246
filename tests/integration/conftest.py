"""Fixtures: real PostgreSQL, real gunicorn, and a mail server that can misbehave."""

from __future__ import annotations

import asyncio
import http.client
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from tests.support.compose import free_port
from tests.support.reports import query
from tests.support.writers import files

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = "microblog_template"


# PostgreSQL


@dataclass
class Postgres:
    """A PostgreSQL server in a temporary folder, run by an unprivileged user."""

    folder: Path
    port: int
    binaries: Path
    user: str | None  # that the server runs as, when the tests run as root

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={self.user}", "--regid=nogroup", "--clear-groups"]
        command = [*(as_user if self.user else []), str(self.binaries / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def create(self) -> None:
        self.run(
            "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"
        )

    def copy(self, data: Path) -> None:
        """Take the data of a server that is stopped, which is faster than to create and migrate."""
        command = ["cp", "--archive", str(data), str(self.folder / "data")]
        subprocess.run(command, check=True, timeout=180)

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
            " -c log_min_error_statement=panic -c log_error_verbosity=terse"
        )
        self.run("pg_ctl", "start", "-D", "data", "-w", "-l", "server.log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "stop", "-D", "data", "-w", "-m", mode)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to all of its processes."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            with suppress(ProcessLookupError):  # a backend whose client has just left
                os.kill(process, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend the server during the block; the kernel still accepts connections."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.url(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create_database(self, template: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _postgres_binaries() -> Path:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4])
    )
    found = versions[-1] if versions else shutil.which("postgres")
    assert found, "PostgreSQL is missing: run tests/prepare postgres"
    return Path(found).resolve().parent


@contextmanager
def _running_postgres(prepare: Callable[[Postgres], None]) -> Iterator[Postgres]:
    """Run a server during the block, once ``prepare`` has made its data."""
    # Not in pytest's folder, which only the user who runs the tests can enter.
    with tempfile.TemporaryDirectory(prefix="microblog-postgres-", dir="/tmp") as name:
        folder = Path(name)
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        server = Postgres(folder, free_port(), _postgres_binaries(), user)
        prepare(server)
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop("immediate")


@pytest.fixture(scope="session")
def migrated_data() -> Iterator[Path]:
    """Return the data of a server that is stopped, with a migrated database to clone."""
    with _running_postgres(Postgres.create) as server:
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        _upgrade(server.url(TEMPLATE), server.folder / "work")
        server.stop()
        yield server.folder / "data"


@pytest.fixture(scope="session")
def postgres_server(migrated_data: Path) -> Iterator[Postgres]:
    """Run one server for the whole session."""
    with _running_postgres(lambda server: server.copy(migrated_data)) as server:
        yield server


@pytest.fixture(scope="module")
def bare_postgres_server() -> Iterator[Postgres]:
    """Run a server without tables for a module, whose tests leave it running."""
    with _running_postgres(Postgres.create) as server:
        yield server


@pytest.fixture
def own_postgres_server(migrated_data: Path) -> Iterator[Postgres]:
    """Run a server that a test can stop and start."""
    with _running_postgres(lambda server: server.copy(migrated_data)) as server:
        yield server


def _upgrade(url: str, folder: Path) -> None:
    """Migrate a database as the service ``migrate`` does."""
    environment = _environment(folder) | {"DATABASE_URL": url, "FLASK_APP": "app:create_app"}
    command = [sys.executable, "-m", "flask", "db", "upgrade"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """Return the URL of a migrated database that only this test uses."""
    name = postgres_server.create_database(TEMPLATE)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


# SMTP


class _MisbehavingSMTP(SMTP):
    """aiosmtpd's server with the failures that ``MailServer.behave`` has set."""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        if self.event_handler.behaviour == "drop":
            self.transport.abort()
            return
        await super().smtp_DATA(arg)


@dataclass
class MailServer:
    """A mail server whose ``behaviour`` a test can change at any time.

    ``accept``, ``hang`` (accepts the connection and never replies), ``refuse`` (nothing listens),
    ``4xx`` and ``5xx`` (of the message), ``poison`` (5xx if the error says ``refused``),
    ``recipient`` (refuses ``refused`` permanently),
    ``closing`` (answers the recipient ``refused`` with 421),
    ``drop`` (closes the connection at DATA) and ``slow`` (replies after ``delay`` seconds).
    """

    port: int = field(default_factory=free_port)
    behaviour: str = "accept"
    refused: str = ""
    delay: float = 0.3
    connections: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[tuple[str, ...]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _controller: Controller | None = None
    _silent: _SilentListener | None = None

    def behave(self, behaviour: str, **options: Any) -> None:
        self.close()
        self.behaviour = behaviour
        for name, value in options.items():
            setattr(self, name, value)
        if behaviour == "hang":
            self._silent = _SilentListener(self)
        elif behaviour != "refuse":
            server = self

            class _Controller(Controller):
                def factory(self) -> SMTP:
                    server.connections += 1
                    return _MisbehavingSMTP(self.handler, hostname="mail.example")

            self._controller = _Controller(
                _Handler(self), hostname="127.0.0.1", port=self.port, ready_timeout=60
            )
            self._controller.start()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None
        if self._silent is not None:
            self._silent.close()
            self._silent = None

    @property
    def settings(self) -> dict[str, str]:
        """The app's settings for this server."""
        return {
            "MAIL_SERVER": "127.0.0.1",
            "MAIL_PORT": str(self.port),
            "MAIL_FROM": "no-reply@microblog.example",
            "ADMINS": "admin@microblog.example",
        }

    def subjects(self) -> list[str]:
        with self._lock:
            return [mail["Subject"] for mail in self.mails]

    def with_request_id(self, request_id: str) -> list[EmailMessage]:
        with self._lock:
            return [mail for mail in self.mails if mail["X-Request-ID"] == request_id]

    def total(self) -> int:
        """Return the number of errors in all mails; a mail received twice counts once."""
        with self._lock:
            counts = {mail["Message-ID"]: int(mail["X-Error-Count"]) for mail in self.mails}
        return sum(counts.values())

    def keep(self, content: bytes, recipients: list[str]) -> None:
        with self._lock:
            self.raw.append(content)
            self.recipients.append(tuple(recipients))
            self.mails.append(message_from_bytes(content, policy=policy.default))  # type: ignore[arg-type]


class _Handler:
    """Replies according to the server's behaviour and keeps accepted mails."""

    def __init__(self, server: MailServer) -> None:
        self.server = server

    @property
    def behaviour(self) -> str:
        return self.server.behaviour

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, smtp: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.behaviour == "recipient" and address == self.server.refused:
            return "550 there is nobody of that name"
        if self.behaviour == "closing" and address == self.server.refused:
            return "421 closing down"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, smtp: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.behaviour == "4xx":
            return "451 try again later"
        poison = f": {self.server.refused} at ".encode() in envelope.content
        if self.behaviour == "5xx" or (self.behaviour == "poison" and poison):
            return "554 no"
        if self.behaviour == "slow":
            await asyncio.sleep(self.server.delay)
        self.server.keep(envelope.content, envelope.rcpt_tos)
        return "250 OK"


class _SilentListener:
    """Accepts connections and never sends a byte."""

    def __init__(self, server: MailServer) -> None:
        self.listener = socket.create_server(("127.0.0.1", server.port), backlog=64)
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self._take, args=(server,), daemon=True)
        self.thread.start()

    def _take(self, server: MailServer) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            server.connections += 1
            self.taken.append(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def smtp_server() -> Iterator[MailServer]:
    """Run a mail server that accepts every mail until a test changes its behaviour."""
    server = MailServer()
    server.behave("accept")
    yield server
    server.close()


# gunicorn


@dataclass(frozen=True)
class Answer:
    """The response of an HTTP server."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def request_id(self) -> str:
        ids = self.headers.get_all("X-Request-ID") or []
        assert len(ids) == 1, ids
        return str(ids[0])


@dataclass
class Gunicorn:
    """A gunicorn process with our configuration that writes its output to a file."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "microblog.log"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def workers(self) -> list[int]:
        """Return the pids of the living workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(pid) for pid in path.read_text().split()]
        except FileNotFoundError:
            return []

    def request(
        self,
        path: str,
        method: str = "GET",
        body: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Send one request on a new connection."""
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        started = time.monotonic()
        try:
            connection.request(method, path, body, {**form, **(headers or {})})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, response.headers, content, time.monotonic() - started)

    def fail(self, message: str = "") -> Answer:
        """Let the drill raise an exception with this message."""
        return self.request("/drill/exception", "POST", urlencode({"message": message}))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the server with a signal and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail("gunicorn did not stop within 60 s:\n" + self.output)

    def kill(self) -> None:
        """Kill the master and its workers at once."""
        workers = self.workers()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        for worker in workers:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment without the shell's settings and with all files in ``folder``."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "SECRET_KEY": "0123456789abcdef0123456789abcdef01234567",
        "DATABASE_URL": f"sqlite:///{folder}/microblog.db",
        "LOG_DIR": str(folder / "logs"),
        "LOG_MAX_BYTES": str(64 << 20),
        "SPOOL_DIR": str(folder / "spool"),
    }


def _spawn(
    folder: Path, port: int, environment: dict[str, str], options: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"FLASK_APP": "app:create_app", "APP_NAME": "Microblog", **environment}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:flask_mayday.gunicorn"]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            [*command, "-b", f"127.0.0.1:{port}", *options],
            cwd=ROOT,
            env=_environment(folder) | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _is_live(server: Gunicorn) -> bool:
    if server.process.poll() is not None:
        pytest.fail(f"gunicorn ended with {server.process.returncode}:\n{server.output}")
    try:
        return server.request("/health/live", timeout=20).status == 200
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def _gunicorns(folder: Path, wait_until: Callable[..., Any]) -> Iterator[Callable[..., Gunicorn]]:
    """Yield a factory: ``gunicorn(WEB_CONCURRENCY=4)`` starts one and waits until it is live.

    With ``ask=False`` it does not wait, so the server has served no request. Positional arguments
    are gunicorn's options.
    """
    with ExitStack() as started:

        def start(*options: str, ask: bool = True, **environment: object) -> Gunicorn:
            port = free_port()
            texts = {name: str(value) for name, value in environment.items()}
            process = _spawn(folder, port, {"DRILL": "1", **texts}, options)
            server = Gunicorn(process, port, folder)
            started.callback(server.kill)
            if ask:
                wait_until(lambda: _is_live(server), "an answer of /health/live")
            return server

        yield start


@pytest.fixture
def gunicorn(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Callable[..., Gunicorn]]:
    """Return a function that starts servers, which run until the end of the test."""
    with _gunicorns(tmp_path, wait_until) as start:
        yield start


@pytest.fixture(scope="module")
def module_gunicorn(
    tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[Callable[..., Gunicorn]]:
    """Return a function that starts servers, which run until the end of the module."""
    with _gunicorns(tmp_path_factory.mktemp("gunicorn"), wait_until) as start:
        yield start


@pytest.fixture
def refused_gunicorn(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that starts gunicorn with bad settings: exit status and output."""

    def start(*options: str, **environment: str | None) -> tuple[int, str]:
        kept = {name: value for name, value in environment.items() if value is not None}
        process = _spawn(tmp_path, free_port(), kept, options)
        try:
            status = process.wait(200)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return status, (tmp_path / "output").read_text()

    return start


@pytest.fixture
def flask(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command of the app, as `docker compose exec web` does."""

    def run(*arguments: str, **environment: object) -> subprocess.CompletedProcess[str]:
        texts = {name: str(value) for name, value in environment.items()}
        return subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            cwd=ROOT,
            env=_environment(tmp_path) | {"FLASK_APP": "app:create_app"} | texts,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


# The spool and the log, as files


@pytest.fixture
def query_spool(tmp_path: Path) -> Callable[[str], list[tuple[Any, ...]]]:
    """Return a function that queries the spool as if all reports were in its database."""
    return partial(query, tmp_path / "spool")


@pytest.fixture
def all_log_lines(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that reads every line of the log, rotated files first."""

    def read() -> list[str]:
        return [
            line
            for path in files(tmp_path / "logs" / "microblog.log")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]

    return read
