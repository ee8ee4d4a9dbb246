"""The names of gunicorn that it does not document and that this package relies on."""

from __future__ import annotations

import inspect
import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import arbiter, util
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.config import KNOWN_SETTINGS
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import errors, parser, wsgi
from gunicorn.workers import gthread

import flask_mayday.gunicorn as configuration
from flask_mayday.gunicorn import hooks, patches, reaping, worker_deaths
from flask_mayday.gunicorn.responses import http_date


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(function: Any) -> str:
    return inspect.getsource(function)


def test_no_name_in_the_configuration_is_a_setting_by_accident() -> None:
    settings = {setting.name for setting in KNOWN_SETTINGS}
    modules = {module.name for module in pkgutil.iter_modules(configuration.__path__)}
    assert settings & modules == set()
    assert settings & set(vars(configuration)) == settings & set(configuration.__all__)


def test_every_hook_is_offered() -> None:
    assert set(hooks.NAMES) <= set(configuration.__all__)
    settings = {setting.name: setting for setting in KNOWN_SETTINGS}
    for name in hooks.NAMES:
        default = settings[name].default
        assert parameters(getattr(hooks, name)) == parameters(default), name


def test_an_app_is_loaded_by_a_method_that_is_called_once_per_load() -> None:
    assert parameters(WSGIApplication.load) in (["self"], ["application"])
    assert "self.load()" in source(WSGIApplication.wsgi)
    assert "app_uri" in source(WSGIApplication.load_config)


def test_the_process_is_named_after_the_app_of_the_command_line() -> None:
    assert 'self.cfg.set("default_proc_name", args[0])' in source(WSGIApplication.init)
    default = next(s.default for s in KNOWN_SETTINGS if s.name == "default_proc_name")
    assert default == "gunicorn"


def test_the_logger_is_made_before_the_app_is_loaded() -> None:
    text = source(arbiter.Arbiter.setup)
    assert text.index("logger_class") < text.index("preload_app")
    assert "self.setup(cfg)" in source(GunicornLogger.__init__)


def test_a_response_is_made_by_its_name_in_the_module() -> None:
    assert "wsgi.create" in source(gthread)
    assert "response_class = Response" in source(wsgi.create)
    assert parameters(wsgi.Response.__init__)[1:4] == ["req", "sock", "cfg"]


def test_the_date_of_a_response_is_formatted_by_a_function_of_util() -> None:
    assert "util.http_date()" in source(wsgi.Response.default_headers)
    for timestamp in (0, 1.9, 1796040000.5):
        assert http_date(timestamp) == util.http_date(timestamp)


def test_refusals_are_written_by_a_function_of_util() -> None:
    from gunicorn.workers import base

    assert "util.write_error(client, status_int, reason, mesg)" in source(base.Worker.handle_error)
    assert parameters(util.write_nonblock)[:2] == ["sock", "data"]


def test_a_stop_signals_waits_and_kills() -> None:
    assert parameters(arbiter.Arbiter.stop) in (["self", "graceful"], ["arbiter", "graceful"])
    assert hasattr(arbiter.Arbiter, "reap_workers")
    assert isinstance(arbiter.Arbiter.WORKERS, dict)


@pytest.mark.parametrize("kind", ["NoMoreData", "ParseException"])
def test_a_body_that_cannot_be_read_raises_these(kind: str) -> None:
    assert issubclass(getattr(errors, kind), Exception)


@pytest.mark.parametrize(
    "name",
    [
        "_keepalive_after",
        "set_accept_enabled",
        "accept",
        "enqueue_req",
        "finish_request",
        "handle_exit",
        "handle_quit",
        "notify",
    ],
)
def test_the_threaded_worker_has_these_methods(name: str) -> None:
    assert callable(getattr(gthread.ThreadWorker, name))


@pytest.mark.parametrize("name", ["_accepting", "nr_conns", "max_keepalived", "worker_connections"])
def test_the_threaded_worker_keeps_this_state(name: str) -> None:
    assert f"self.{name}" in source(gthread)


def test_a_parser_finishes_a_body_within_bounds() -> None:
    assert {"deadline", "max_bytes"} <= set(parameters(parser.Parser.finish_body))


def test_an_exit_code_is_logged_before_the_server_stops_for_it() -> None:
    text = source(reaping._reap_workers)
    assert worker_deaths.EXITED in text
    assert text.index("exited with code") < text.index("raise HaltServer")
    codes = (arbiter.Arbiter.WORKER_BOOT_ERROR, arbiter.Arbiter.APP_LOAD_ERROR)
    assert codes == worker_deaths.BOOT_FAILURES


def test_patches_are_applied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [(WSGIApplication, "load"), (wsgi, "Response"), (util, "write_error")]
    names.append((util, "http_date"))
    for owner, name in [*names, (arbiter.Arbiter, "stop"), (arbiter.Arbiter, "reap_workers")]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(patches, "_applied", False)
    forks: list[Any] = []
    monkeypatch.setattr(
        patches, "os", SimpleNamespace(register_at_fork=lambda **options: forks.append(options))
    )
    patches.apply()
    patches.apply()
    assert len(forks) == 1
    assert wsgi.Response is patches.WholeResponse
