"""The installed wheel with Flask alone: a failure gives page, log entry and mail under one id."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from .conftest import ROOT, Sink, interpreters, run

OLDEST = ("flask==2.3.*", "werkzeug<3")
NEWEST = ("flask",)
UNCHANGED = """\
from flask import Flask

def create_app():
    app = Flask(__name__)

    @app.get("/")
    def index():
        raise RuntimeError("the first failure")

    return app
"""
FAILING_VIEW = """
@app.get("/")
def index():
    raise RuntimeError("the first failure")
"""
IMPORT_ALL = """
import importlib, pathlib, flask_mayday
folder = pathlib.Path(flask_mayday.__file__).parent
paths = [path.relative_to(folder.parent) for path in folder.rglob("*.py")]
names = [".".join(path.with_suffix("").parts) for path in paths if "gunicorn" not in path.parts]
print(len([importlib.import_module(name.removesuffix(".__init__")) for name in names]))
"""
ABSENT = ("gunicorn", "sqlalchemy", "flask_login", "flask_sqlalchemy", "prometheus_client")


def example_of_the_readme() -> str:
    """Return the app that the README shows under "In your own deployment", with a failing view."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "Mayday(app)" in block]
    return str(example) + FAILING_VIEW


pytestmark = pytest.mark.parametrize("version", interpreters())


@contextmanager
def serving(
    command: tuple[str | Path, ...], folder: Path, sink: Sink
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in ``folder``, whose error mails go to ``sink``; print its output at the end."""
    environ = {
        "PATH": os.environ["PATH"],
        # With the prefix: they go before what the README's example sets.
        "MAYDAY_MAIL_SERVER": "127.0.0.1",
        "MAYDAY_MAIL_PORT": str(sink.port),
        "MAYDAY_ADMINS": "admin@example.com",
    }
    output = (folder / "server.out").open("w+")
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        output.seek(0)
        print(output.read())  # noqa: T201 - pytest shows it where the test fails
        output.close()


def failing_page(
    port: int, server: subprocess.Popen[bytes]
) -> Callable[[], tuple[str, str] | None]:
    """Return a function that returns the request id and the text of the error page, once there."""

    def ask() -> tuple[str, str] | None:
        assert server.poll() is None, "The server has ended."
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
        except urllib.error.HTTPError as answer:
            with answer:
                return str(answer.headers["X-Request-ID"]), answer.read().decode()
        except OSError:
            return None  # it does not listen yet
        pytest.fail("The page did not fail.")

    return ask


def check_one_failure(
    server: subprocess.Popen[bytes],
    folder: Path,
    port: int,
    sink: Sink,
    wait_until: Callable[..., object],
) -> None:
    """Fail once, and find the request id in page, log and mail."""
    request_id, page = wait_until(failing_page(port, server), "the page of the error")  # type: ignore[misc]
    assert len(request_id) == 32
    assert request_id in page
    log = folder / "instance/logs/app.log"
    wait_until(lambda: log.exists() and "the first failure" in log.read_text(), "the log entry")
    assert f"[request {request_id}]" in log.read_text()
    wait_until(lambda: sink.mails, "the mail")
    mail: EmailMessage = sink.mails[0]
    assert mail["X-Request-ID"] == request_id
    assert "RuntimeError: the first failure" in mail["Subject"]


@pytest.mark.parametrize("flask", [OLDEST, NEWEST], ids=["oldest Flask", "newest Flask"])
def test_the_example_of_the_readme_under_flask_run(
    version: str,
    flask: tuple[str, ...],
    make_environment: Callable[..., Path],
    tmp_path: Path,
    sink: Sink,
    free_port: Callable[[], int],
    wait_until: Callable[..., object],
) -> None:
    (tmp_path / "app.py").write_text(example_of_the_readme())
    port = free_port()
    programs = make_environment(version, *flask)
    with serving((programs / "flask", "run", "--port", str(port)), tmp_path, sink) as server:
        check_one_failure(server, tmp_path, port, sink, wait_until)


def test_an_unchanged_app_under_gunicorn(
    version: str,
    make_environment: Callable[..., Path],
    tmp_path: Path,
    sink: Sink,
    free_port: Callable[[], int],
    wait_until: Callable[..., object],
) -> None:
    (tmp_path / "app.py").write_text(UNCHANGED)
    port = free_port()
    gunicorn = make_environment(version, *NEWEST, extra="gunicorn") / "gunicorn"
    command = (gunicorn, "-c", "python:flask_mayday.gunicorn", "--bind", f"127.0.0.1:{port}")
    with serving((*command, "app:create_app()"), tmp_path, sink) as server:
        check_one_failure(server, tmp_path, port, sink, wait_until)


def test_every_module_but_those_for_gunicorn_needs_flask_alone(
    version: str, make_environment: Callable[..., Path], tmp_path: Path
) -> None:
    python = make_environment(version, *NEWEST) / "python"
    absent = f"from importlib.util import find_spec; print(*map(find_spec, {ABSENT}))"
    assert set(run(python, "-c", absent, folder=tmp_path).split()) == {"None"}
    assert int(run(python, "-c", IMPORT_ALL, folder=tmp_path)) > 30


def test_the_command_mayday_is_an_entry_point(
    version: str, make_environment: Callable[..., Path], tmp_path: Path
) -> None:
    flask = make_environment(version, *NEWEST) / "flask"
    (tmp_path / "app.py").write_text(example_of_the_readme())
    assert "reports" in run(flask, "mayday", "--help", folder=tmp_path)
