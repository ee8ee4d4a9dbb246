"""The changes to gunicorn for which it has no setting or hook, each with its reason.

They rely on names that gunicorn does not document; each has a contract test in
``tests/unit/gunicorn/test_patches.py``, and ``flask-mayday[gunicorn]`` pins the version.
"""

from __future__ import annotations

import os

from gunicorn import util
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http import wsgi

from . import hooks, loading, reaping, refusals, shutdown
from .responses import WholeResponse, http_date

_applied = False


def apply() -> None:
    """Apply the patches; does nothing the second time in a process."""
    global _applied
    if _applied:
        return
    _applied = True
    # An app that does not load is reported, and one that does gets the extension: gunicorn has
    # no hooks around the loading.
    WSGIApplication.load = loading.load
    # Head and body go out in one write: a worker killed between two writes leaves half a response.
    wsgi.Response = WholeResponse
    # gunicorn formats the same date anew for each response.
    util.http_date = http_date
    # A request that gunicorn refuses before the app sees it gets our page instead of a bare one.
    util.write_error = refusals.write_error
    # Workers that had to be killed at a stop are reaped, and so reported.
    Arbiter.stop = shutdown.stop
    # A request that exits with 3 or 4 ends its worker and not the server.
    Arbiter.reap_workers = reaping.reap_workers
    # Not a patch: after the fork, unblocks in the parent what pre_fork has blocked for the child.
    os.register_at_fork(after_in_parent=hooks.unblock_signals)
    loading.add_unreadable_request_errors()
