"""In the master: makes one report of a worker's death, with the requests that died with it."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
from typing import Any, Final, TextIO

from ..context import request_id
from ..context.in_flight import HEALTH, Left, Table, use
from ..context.record_fields import (
    ENVIRON,
    INTERRUPTED,
    REPORTED,
    REQUESTS,
    RESPONDING,
    STACK,
)

# What gunicorn's master logs of a death, in two or three records. They stay in the log; the one
# report is made when the worker has been reaped.
TIMEOUT: Final = "WORKER TIMEOUT (pid:%s)"
SIGNALLED: Final = "Worker (pid:%s) was sent %s!"
EXITED: Final = "Worker (pid:%s) exited with code %s."
GIVING_UP: Final = ("Shutting down: %s", "Reason: %s")  # since a worker exited with one of:
GIVEN_UP_FOR: Final = (3, 4)
# What a worker itself logs of its end.
FAILED: Final = "Exception in worker process"
CRASHED: Final = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)  # by faulthandler

logger = logging.getLogger(__name__)
_workers: list[Any] = []
_timed_out: set[int] = set()
_endings: dict[int, str] = {}
_stopping = False


def is_told_later(message: str, arguments: tuple[Any, ...]) -> bool:
    """Note what gunicorn says of a worker's end; tell whether a report of it will follow."""
    if message == TIMEOUT:
        _timed_out.add(int(arguments[0]))
        return True
    if message.startswith(SIGNALLED) and arguments[1] != "SIGTERM":
        _endings[int(arguments[0])] = f"was killed by {arguments[1]}" + (
            _why_killed() if arguments[1] == "SIGKILL" else ""
        )
        return True
    if message == EXITED:
        pid, status = arguments
        _endings[pid] = f"exited with status {status}"
        if status in GIVEN_UP_FOR:  # and then the master reaps nobody any more
            for worker in [one for one in _workers if one.pid == pid]:
                after_death(worker)
        return True
    return message in GIVING_UP


def _why_killed() -> str:
    return ", since the server stopped" if _stopping else ", perhaps for want of memory"


def expect_killed() -> None:
    """Note that the server stops: who has not finished in time is killed."""
    global _stopping
    _stopping = True


def tell_oneself(message: str) -> None:
    """In a worker that logs why it ends: note that the master need not report it."""
    if message == FAILED and _workers:
        _workers[-1].in_flight.tell_end()  # made last before the fork: this process's own


def before_fork(worker: Any, threads: int) -> None:
    """Make what a worker leaves behind: its table of requests, and a file for its last stack."""
    worker.in_flight = Table(threads)
    descriptor = os.memfd_create(f"last stack of worker {worker.age}", os.MFD_CLOEXEC)
    worker.last_stack = os.fdopen(descriptor, "w+")
    _workers.append(worker)


def after_fork(worker: Any) -> None:
    """In the worker: note requests, and write the stacks down when it is aborted or crashes.

    gunicorn aborts a worker whose main loop has stopped. ``faulthandler`` writes the stacks even
    where a C extension never comes back to Python, and then lets the signal do its work.
    """
    use(worker.in_flight)
    faulthandler.enable(file=worker.last_stack, all_threads=True)


def after_death(worker: Any) -> None:
    """Report how a worker ended, unless it ended as it should or has told of it itself."""
    if worker not in _workers:
        return
    _workers.remove(worker)
    ending = _endings.pop(worker.pid, None)
    timed_out = worker.pid in _timed_out
    _timed_out.discard(worker.pid)
    left = worker.in_flight.left_behind()
    if ending is None and not all(one.told for one in left):
        ending = "exited with status 0"
    if _stopping and not _visitors(left) and ending is not None and "SIGKILL" in ending:
        ending = None  # it was at a mail, or at what was told before
    if ending is not None and not worker.in_flight.end_is_told:
        _report(worker, "did not answer in time and " + ending if timed_out else ending)
    worker.in_flight.close()
    worker.last_stack.close()


def _report(worker: Any, ending: str) -> None:
    requests = worker.in_flight.left_behind()
    stack = _read(worker.last_stack)
    visitors = _visitors(requests)
    # Whose answer was on its way may be the same visitor, who has asked anew.
    lost = [one for one in visitors if not one.answered] or visitors
    whose = _crashed(requests, stack) or (lost[0] if len(lost) == 1 else None)
    logger.critical(
        "Worker %s %s",
        worker.pid,
        ending,
        extra={
            ENVIRON: None if whose is None else _environ(whose),
            REQUESTS: [_as_data(one) for one in requests],
            STACK: stack.rstrip(),
        },
    )
    for one in visitors:
        if one is not whose:  # so that the log has a line under each visitor's id
            logger.warning(
                "%s, for worker %s %s: %s %s",
                "Perhaps cut off" if one.answered else "Cut off",
                worker.pid,
                ending,
                one.method,
                one.path,
                extra={ENVIRON: _environ(one)},
            )


def _as_data(request: Left) -> dict[str, str]:
    """Return a request as a report keeps it."""
    return {
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path,
        "state": REPORTED if request.told else RESPONDING if request.answered else INTERRUPTED,
    }


def _visitors(requests: list[Left]) -> list[Left]:
    """Return those whom nobody has told of, and somebody waits for."""
    return [one for one in requests if one.path not in HEALTH and not one.told]


def _crashed(requests: list[Left], stack: str) -> Left | None:
    """Return the request of the thread that crashed, where faulthandler could tell it."""
    thread = CRASHED.search(stack)
    if thread is None:
        return None
    return next((one for one in requests if one.thread == int(thread[1], 16)), None)


def _environ(request: Left) -> dict[str, str]:
    return {
        request_id.ENVIRON_KEY: request.request_id,
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
    }


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read()
