"""Keeps gunicorn's master from stopping the server when a request exits with code 3 or 4."""

from __future__ import annotations

from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from . import worker_deaths

_reap_workers = Arbiter.reap_workers


def reap_workers(arbiter: Any) -> None:
    """Reap the workers that have ended, as gunicorn does.

    gunicorn stops the server if a worker exits with 3 or 4, which it uses itself for a worker that
    cannot boot and for an app that cannot be loaded. A worker that has served a request has
    booted: it is replaced like any other that has died.
    """
    while True:
        try:
            _reap_workers(arbiter)
            return
        except HaltServer:
            worker = worker_deaths.exited_after_boot()
            if worker is None:
                raise
            worker.tmp.close()
            arbiter.cfg.child_exit(arbiter, worker)
