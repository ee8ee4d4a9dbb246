"""Any unchanged Flask app is found under gunicorn and gets the extension."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from flask_mayday.gunicorn import loading
from flask_mayday.gunicorn.loading import connect, flask_apps_in, load
from flask_mayday.gunicorn.server import instance_path_of


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = Flask("foreign", root_path=str(tmp_path), instance_path=str(tmp_path))
    yield app
    if "mayday" in app.extensions:
        app.extensions["mayday"].courier.stop(5)


class OldFashioned:
    """A hand-written middleware."""

    def __init__(self, wsgi_app: Any) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.wsgi_app(environ, start_response)


WRAPPERS: list[Callable[[Flask], Any]] = [
    lambda app: app,
    lambda app: ProxyFix(app),  # type: ignore[arg-type]
    lambda app: ProxyFix(app.wsgi_app),
    lambda app: OldFashioned(ProxyFix(app.wsgi_app)),
    lambda app: DispatcherMiddleware(app.wsgi_app, {}),
    lambda app: app.wsgi_app,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_an_app_inside_a_middleware_is_found(app: Flask, wrap: Callable[[Flask], Any]) -> None:
    assert list(flask_apps_in(wrap(app))) == [app]


@pytest.mark.parametrize("wrap", WRAPPERS[:-1])
def test_an_unchanged_app_answers_with_a_request_id(
    app: Flask, wrap: Callable[[Flask], Any]
) -> None:
    wsgi = wrap(app)
    connect(wsgi, "foreign:app")
    answer = Client(wsgi).get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] in answer.text


def test_two_mounted_apps_are_both_connected(app: Flask, tmp_path: Path) -> None:
    other = Flask("other", root_path=str(tmp_path), instance_path=str(tmp_path))
    connect(DispatcherMiddleware(app, {"/other": other}), "foreign:app")
    assert "mayday" in app.extensions
    assert "mayday" in other.extensions


@pytest.mark.parametrize("wrap", [lambda app: app.wsgi_app, lambda app: ProxyFix(app.wsgi_app)])
def test_a_mounted_app_answers_with_a_request_id(app: Flask, wrap: Callable[[Flask], Any]) -> None:
    wsgi = DispatcherMiddleware(OldFashioned(None), {"/other": wrap(app)})
    connect(wsgi, "foreign:app")
    assert "X-Request-ID" in Client(wsgi).get("/other/nowhere").headers


def one_default(config: object = None) -> Flask:
    raise NotImplementedError


def three_defaults(config: object = None, testing: bool = False, debug: bool = False) -> Flask:
    raise NotImplementedError


@pytest.mark.parametrize("create_app", [one_default, three_defaults])
def test_a_factory_without_its_call_is_refused_with_the_correction(
    create_app: Callable[..., Flask],
) -> None:
    with pytest.raises(SystemExit, match=r"is it a factory\? Write foreign:create_app\(\)"):
        connect(create_app, "foreign:create_app")


def test_a_function_that_can_take_a_request_is_not_refused() -> None:
    def application(environ: Any, start_response: Any, charset: str = "utf-8") -> Any:
        raise NotImplementedError

    connect(application, "foreign:application")


def test_an_app_of_another_framework_is_served_and_an_error_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Other:
        def __call__(self, environ: Any, start_response: Any) -> Any:
            raise NotImplementedError

    connect(Other(), "other:app")
    assert "other:app is not a Flask app" in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/app/instance"),
            "The app cannot write /app/instance (Read-only file system). ",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/app/x.db"), "cannot write /app/x.db"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/app/x.db"), ""),
    ],
)
def test_an_app_that_cannot_write_at_start_gets_the_fix_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: OSError, text: str
) -> None:
    def fail(application: object) -> None:
        raise error

    monkeypatch.setattr(loading, "_load", fail)
    with pytest.raises(type(error)):
        load(None)
    assert text in caplog.text
    assert ("set INSTANCE_PATH" in caplog.text) == bool(text)


def test_the_instance_folder_is_where_flask_will_look(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "quiteuniqueshop").mkdir()
    (tmp_path / "quiteuniqueshop/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert instance_path_of("quiteuniqueshop.web") == tmp_path / "instance"
    assert instance_path_of("there_is_no_such_module") == Path.cwd() / "instance"
