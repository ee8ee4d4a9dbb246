"""The server's settings, and the pipeline that reports until the app is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from flask.helpers import get_debug_flag
from flask.sansio.scaffold import find_package

from ..capacity import Capacity
from ..reporting import registry
from ..reporting.pipeline import Pipeline
from ..reporting.standalone import start_pipeline
from ..settings import (
    ConfigurationError,
    ServerSettings,
    Settings,
    SettingsReader,
    read_server,
    read_settings,
)
from ..spool.starts import START, note_server_event
from . import cgroup

DEBUGGER: Final = (
    "FLASK_DEBUG is on, and Werkzeug's debugger must not run where others can reach it.\n"
    "Set FLASK_DEBUG=0 for gunicorn, or use `flask run --debug` instead."
)
ENTRY: Final = "flask_mayday.gunicorn.entry:application"
DEFAULT_NAME: Final = "gunicorn"  # gunicorn's name for its process
UNSUPPORTED: Final = ("gevent", "eventlet", "tornado", "asgi", "uvicorn")

_boot: Pipeline | None = None


def server_settings() -> ServerSettings:
    """Return the settings of the environment that gunicorn's configuration needs.

    An invalid value counts as unset here. :func:`boot_settings` refuses it by name.
    """
    return read_server(SettingsReader({}, os.environ))


def check(cfg: Any) -> None:
    """Exit, with the correction as the message, if gunicorn's configuration cannot work."""
    if get_debug_flag():
        sys.exit(DEBUGGER)
    if any(name in str(cfg.worker_class_str).lower() for name in UNSUPPORTED):
        sys.exit(
            f"worker_class is {cfg.worker_class_str!r}: Flask Mayday needs threads. Remove the "
            "setting."
        )
    if problems := _capacity_problems(Capacity(cfg.workers, cfg.threads)):
        sys.exit("\n".join(problems))


def _capacity_problems(capacity: Capacity) -> list[str]:
    """Return why this container is too small: only its own limits are known here."""
    threads, memory = cgroup.thread_limit(), cgroup.memory_limit()
    problems = [
        None if threads is None else capacity.thread_problem(threads),
        None if memory is None else capacity.memory_problem(memory),
    ]
    return [problem for problem in problems if problem]


def app_named_in(cfg: Any) -> str:
    """Return the app that gunicorn is about to load, such as ``package.module:create_app()``.

    gunicorn names the process after the app of its command line, before it makes the logger.
    """
    if cfg.default_proc_name != DEFAULT_NAME:
        return str(cfg.default_proc_name)
    if cfg.wsgi_app and cfg.wsgi_app != ENTRY:
        return str(cfg.wsgi_app)
    return os.environ.get("FLASK_APP") or "app"


def boot_settings(app_uri: str) -> Settings:
    """Return the settings of the environment, for an app that is not loaded yet.

    ``app_uri`` is gunicorn's, such as ``package.module:create_app()``. Exits, with every
    problem in the message, if a setting is invalid.
    """
    module = app_uri.partition(":")[0].removesuffix(".py").replace("/", ".")
    try:
        return read_settings({}, import_name=module, instance_path=instance_path_of(module))
    except ConfigurationError as error:
        sys.exit(error.message)


def instance_path_of(module: str) -> Path:
    """Return what Flask will use as the instance folder of the app in ``module``."""
    try:
        prefix, package_path = find_package(module.partition(".")[0])
    except Exception:  # the module cannot be found: gunicorn is about to say so
        return Path.cwd() / "instance"
    if prefix is None:
        return Path(package_path) / "instance"
    return Path(prefix) / "var" / f"{module}-instance"


def start_boot_pipeline(settings: Settings) -> None:
    """Log and report from now on, until the app has its own pipeline."""
    global _boot
    _boot = start_pipeline(settings)
    note_server_event(settings.spool.folder, START)


def end_boot_pipeline() -> None:
    """Stop the pipeline of the boot: the app has its own now."""
    global _boot
    if _boot is not None:
        registry.unregister(_boot)
        _boot = None


def pipeline() -> Pipeline | None:
    """Return the pipeline that this process logs to: the app's, or the one of the boot."""
    known = registry.pipelines()
    return known[0] if known else None
