"""The demo app with a view for every way to fail, for the tests to run under gunicorn and flask."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import logging
import os
import re
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask, Response, abort, current_app, render_template_string, request
from jinja2 import DictLoader
from sqlalchemy import text

from app import create_app
from app.database import db
from app.models import User
from flask_mayday.context import request_id
from flask_mayday.gunicorn.thread_worker import Worker

POOL = ThreadPoolExecutor(1)
LEAKED: list[object] = []
BREAK = os.environ.get("SOURCES_BREAK")


def view_raises() -> str:
    raise ValueError("a view raises")


class SlowTextError(Exception):
    """An error whose text takes longer than any test."""

    def __str__(self) -> str:
        time.sleep(30)
        return "late"


def slow_text() -> str:
    raise SlowTextError


def abort_500() -> str:
    abort(500)


def abort_503() -> str:
    abort(503)


def returned_502() -> tuple[str, int]:
    return "bad gateway", 502


def log_error() -> str:
    logging.getLogger("another.library").error("an error is logged")
    return "fine"


def log_critical() -> str:
    logging.getLogger().critical("a critical error is logged")
    return "fine"


def log_without_propagation() -> str:
    logger = logging.getLogger("library.that.keeps.to.itself")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.error("an error is logged where no handler of ours is")
    return "fine"


def log_below_one_without_propagation() -> str:
    logging.getLogger("library.that").propagate = False
    try:
        raise ValueError("logged with its traceback")
    except ValueError:
        logging.getLogger("library.that.keeps.to.itself").exception("an error of a child")
    return "fine"


def log_warning() -> str:
    logging.getLogger("another.library").warning("nothing but a warning")
    return "fine"


def thread_raises() -> str:
    threading.Thread(target=view_raises).start()
    return "fine"


def future_never_retrieved() -> str:
    POOL.submit(view_raises)
    return "fine"


def future_whose_error_is_handled() -> str:
    future = POOL.submit(view_raises)
    return type(future.exception()).__name__


def future_whose_error_is_raised() -> str:
    return str(POOL.submit(view_raises).result())


def pool_maps() -> str:
    return str(list(POOL.map(lambda _: view_raises(), range(3))))


class Careless:
    def __del__(self) -> None:
        view_raises()


def destructor_raises() -> str:
    careless = Careless()
    del careless
    return "fine"


def task_never_retrieved() -> str:
    async def fails() -> None:
        view_raises()

    async def main() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0)
        del task

    asyncio.run(main())
    gc.collect()
    return "fine"


def future_of_a_loop() -> str:
    """The exception of a task that asyncio runs in a pool goes to the coroutine that awaits it."""

    async def main() -> str:
        try:
            await asyncio.get_running_loop().run_in_executor(POOL, view_raises)
        except ValueError as error:
            return str(error)
        return ""

    return asyncio.run(main())


class TeapotError(Exception):
    """An error whose handler raises."""


def error_handler_raises() -> str:
    raise TeapotError("first")


def template_raises() -> str:
    return render_template_string("{{ 1 / 0 }}")


def page_template_raises() -> str:
    current_app.jinja_env.loader = DictLoader({"mayday/page.html": "{{ 1 / 0 }}"})
    abort(404)


def body_raises() -> Iterator[str]:
    yield "the first part"
    view_raises()


def body_raises_late() -> Iterator[str]:
    yield "the first part"
    raise TimeoutError("the body of another server")


def body_is_refused_late() -> Iterator[str]:
    yield "the first part"
    raise ssl.SSLError("the body of another server")


def close_raises() -> Response:
    response = Response("whole")
    response.call_on_close(view_raises)
    return response


def close_of_a_pipe_raises() -> Response:
    def close() -> None:
        raise BrokenPipeError(errno.EPIPE, "the pipe of another program")

    response = Response("whole")
    response.call_on_close(close)
    return response


def system_exit() -> str:
    raise SystemExit(1)


def out_of_memory() -> str:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), hard))
    try:
        return str(len(bytearray(1 << 30)))
    finally:
        # Thread.start would wait for ever for a thread without memory for its stack.
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def hang() -> str:
    current_app.logger.info("It hangs")
    time.sleep(60)
    return "late"


def slow() -> str:
    time.sleep(0.4)
    return "in time"


def sleep() -> str:
    current_app.logger.info("It sleeps")
    time.sleep(float(request.args["seconds"]))
    return "in time"


def leak_sockets() -> str:
    LEAKED.extend(socket.socket() for _ in range(int(request.args["count"])))
    return "in time"


def leak_memory() -> str:
    LEAKED.append(bytearray(int(request.args["mib"]) << 20))
    return "in time"


def stuck_in_c() -> str:
    current_app.logger.info("It hangs")
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))  # holds the interpreter's lock


def long_statement() -> str:
    db.session.execute(text("SELECT pg_sleep(6)"))
    return "done"


def duplicate_name() -> str:
    """Write a name twice, past the form's check: the rename bug of the tutorial."""
    for number in range(2):
        address = f"{number}.{request_id.current()}@drill.invalid"
        db.session.add(User(username="drill", email=address))
        db.session.flush()
    return "the database has no constraint on names"


def kill() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def segfault() -> str:
    ctypes.string_at(0)
    return "never"


def abort_signal() -> str:
    os.abort()


def terminated() -> str:
    os.kill(os.getpid(), signal.SIGUSR2)  # no handler is installed
    return "never"


def exit_0() -> str:
    os._exit(0)


def exit_3() -> str:
    os._exit(3)


def exit_4() -> str:
    os._exit(4)


def exit_7() -> str:
    os._exit(7)


VIEWS = {
    name: view
    for name, view in list(globals().items())
    if getattr(view, "__module__", "") == __name__ and not isinstance(view, type)
}


def make() -> Flask:
    """Make the app, or fail at the place that SOURCES_BREAK names."""
    if BREAK == "import":
        import tests.integration.there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401
    if BREAK == "import of the blog":
        sys.modules["app.main.routes"] = None  # type: ignore[assignment]
    app = create_app()
    for name in ("NOFILE", "AS"):
        if most := os.environ.get(f"SOURCES_{name}"):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(most), int(most)))
    if BREAK == "boot":
        raise ValueError("the app cannot be made")
    if BREAK == "boot with a RuntimeError":
        raise RuntimeError("the app cannot be made")
    for name, view in VIEWS.items():
        app.add_url_rule(f"/{name}", name, view)

    @app.errorhandler(TeapotError)
    def handle(error: TeapotError) -> str:
        raise KeyError("second") from error

    @app.cli.command("raise")
    def command() -> None:
        raise ValueError("a command raises")

    return app


class ScarceWorker(Worker):
    """A worker for whose requests the kernel starts only two threads."""

    def run(self) -> None:
        start, left = threading.Thread.start, [2]

        def scarce(thread: threading.Thread) -> None:
            if thread.name.startswith("ThreadPoolExecutor"):
                left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
            start(thread)

        threading.Thread.start = scarce  # type: ignore[method-assign,assignment]
        super().run()


class BrokenWorker(Worker):
    """A worker that cannot boot."""

    def init_process(self, *arguments: Any) -> None:
        if BREAK == "worker exits":
            os._exit(3)
        raise ValueError("the worker cannot start")
