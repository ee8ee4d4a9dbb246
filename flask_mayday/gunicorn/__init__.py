"""gunicorn's configuration: ``gunicorn -c python:flask_mayday.gunicorn 'app:create_app()'``.

``Mayday.init_app`` is called here for an app that does not call it, so any Flask app runs without a
changed line. In a configuration of your own, import everything from here, then set what you want to
change, and call our hooks from yours::

    from flask_mayday import gunicorn as mayday
    from flask_mayday.gunicorn import *

    bind = "0.0.0.0:8000"

    def post_worker_init(worker):
        mayday.post_worker_init(worker)
        ...

gunicorn reads every name in this module. Importing it defines names and does nothing else: the
patches listed in :mod:`flask_mayday.gunicorn.patches` are applied when gunicorn makes its logger.
The settings ``WEB_CONCURRENCY``, ``WEB_THREADS`` and ``REQUEST_TIMEOUT`` (seconds) come from the
environment, since there is no app yet.
"""

from .hooks import child_exit, on_exit, post_worker_init, pre_fork, when_ready, worker_exit
from .server import ENTRY, server_settings

_server = server_settings()

# The default, if the command line names no app: the one that `flask run` would find.
wsgi_app = ENTRY
workers = _server.workers
threads = _server.threads
worker_class = "flask_mayday.gunicorn.thread_worker.Worker"
logger_class = "flask_mayday.gunicorn.logger.Logger"
accesslog = "-"
# Errors are reported whatever LOG_LEVEL is: it only decides what the log keeps.
loglevel = "debug"

# The app is built once, before the fork: a killed worker is back within milliseconds.
preload_app = True
# The heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn unlinks its file at once
# The thread of the control socket may hold a logging lock at a fork: the child's copy stays locked.
control_socket_disable = True

timeout = int(_server.limits.heartbeat)
graceful_timeout = int(_server.limits.graceful)
keepalive = 5
limit_request_line = 8190  # bytes, gunicorn's highest limit
# The client's address comes from the app's ProxyFix alone (TRUSTED_PROXIES).
forwarded_allow_ips = ""

__all__ = [
    "accesslog",
    "child_exit",
    "control_socket_disable",
    "forwarded_allow_ips",
    "graceful_timeout",
    "keepalive",
    "limit_request_line",
    "logger_class",
    "loglevel",
    "on_exit",
    "post_worker_init",
    "pre_fork",
    "preload_app",
    "threads",
    "timeout",
    "when_ready",
    "worker_class",
    "worker_exit",
    "worker_tmp_dir",
    "workers",
    "wsgi_app",
]
