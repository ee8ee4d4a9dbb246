"""Reports the death of a worker, in the master, with the requests that it interrupted."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
from typing import Any, Final, TextIO

from ..context import request_id
from ..context.in_flight import HEALTH_PATHS, InterruptedRequest, RequestTable, use
from ..context.record_fields import (
    ENVIRON,
    INTERRUPTED,
    REPORTED,
    REQUESTS,
    RESPONDING,
    STACK,
)
from ..report.request import path_of
from . import cgroup, worker_metrics

# gunicorn's master logs a death in two or three records. They are logged and not reported: the one
# report is made when the worker has been reaped.
TIMEOUT: Final = "WORKER TIMEOUT (pid:%s)"
SIGNALLED: Final = "Worker (pid:%s) was sent %s!"
EXITED: Final = "Worker (pid:%s) exited with code %s."
SHUTTING_DOWN: Final = ("Shutting down: %s", "Reason: %s")
# Exit codes of a worker that could not boot: gunicorn stops the server after one of them.
BOOT_FAILURES: Final = (3, 4)
# gunicorn's message when a worker ends with an exception; the worker logs it.
FAILED: Final = "Exception in worker process"
CRASHED: Final = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)  # by faulthandler

logger = logging.getLogger(__name__)
_workers: list[Any] = []
_timed_out: set[int] = set()
_endings: dict[int, str] = {}
_stopping = False
_server_failed = False
_memory_kills: int | None = None  # kills for lack of memory that are accounted for already
_exited_after_boot: Any = None


def note_worker_end(message: str, arguments: tuple[Any, ...]) -> bool:
    """Read a log message of gunicorn's master; return whether it is about a worker's end.

    Such a message needs no report of its own: :func:`after_death` makes one.
    """
    global _exited_after_boot, _server_failed
    if message == TIMEOUT:
        _timed_out.add(int(arguments[0]))
        return True
    if message.startswith(SIGNALLED) and arguments[1] != "SIGTERM":
        pid, name = int(arguments[0]), arguments[1]
        is_unexplained = name == "SIGKILL" and pid not in _timed_out
        _endings[pid] = f"was killed by {name}" + (_why_killed() if is_unexplained else "")
        return True
    if message == EXITED:
        pid, status = arguments
        _endings[pid] = f"exited with status {status}"
        if status in BOOT_FAILURES:  # gunicorn takes it for a boot failure: no child_exit
            _exited_after_boot = None
            for worker in [one for one in _workers if one.pid == pid]:
                if worker.in_flight.has_served:
                    _exited_after_boot = worker
                after_death(worker)
        return True
    if message in SHUTTING_DOWN:
        _server_failed = True  # an orderly stop is logged at INFO, which does not come here
        return True
    return False


def _why_killed() -> str:
    """Return what is known of a SIGKILL that gunicorn did not send because of its own timeout."""
    global _memory_kills
    if _stopping:
        return ", since the server stopped"
    known, _memory_kills = _memory_kills, cgroup.memory_kills()
    if known is None or _memory_kills is None:
        return ", by another process or by the kernel for lack of memory"
    if _memory_kills == known:
        return ": not for lack of memory, according to the kernel"
    # Of several kills, one explains this death. The others are left for the deaths that follow.
    _memory_kills = known + 1
    limit = cgroup.memory_limit()
    text = ": out of memory, according to the kernel"
    return text if limit is None else f"{text} (limit: {limit >> 20} MiB)"


def note_server_stop() -> None:
    """Record that the server is stopping, and kills workers that do not finish in time."""
    global _stopping
    _stopping = True


def server_has_failed() -> bool:
    """Return whether the server stops because it cannot go on."""
    return _server_failed


def exited_after_boot() -> Any:
    """Return the last worker that exited with the code of a boot failure, if it had booted.

    A request can end its worker with any exit code, through ``os._exit``.
    """
    return _exited_after_boot


def note_own_end(message: str) -> None:
    """Record, in a worker, that it reports its own end, so that the master does not as well."""
    if message == FAILED and _workers:
        _workers[-1].in_flight.mark_end_reported()  # the last one made before the fork: our own


def before_fork(worker: Any, threads: int) -> None:
    """Give ``worker`` a table of its requests and a file for its last stack; both outlive it."""
    global _memory_kills
    if _memory_kills is None:
        _memory_kills = cgroup.memory_kills()
    worker.in_flight = RequestTable(threads)
    descriptor = os.memfd_create(f"last stack of worker {worker.age}", os.MFD_CLOEXEC)
    worker.last_stack = os.fdopen(descriptor, "w+")
    _workers.append(worker)


def after_fork(worker: Any) -> None:
    """Record, in the worker, its requests from now on, and its stacks if it crashes.

    gunicorn aborts a worker whose main loop has stopped. ``faulthandler`` writes the stacks even
    if a C extension never returns to Python, and then lets the signal end the process.
    """
    if not hasattr(worker, "in_flight"):  # the app's own pre_fork does not call ours
        before_fork(worker, worker.cfg.threads)
    use(worker.in_flight)
    faulthandler.enable(file=worker.last_stack, all_threads=True)


def after_death(worker: Any) -> None:
    """Report how a worker ended, unless it ended normally or has reported its end itself."""
    if worker not in _workers:
        return
    _workers.remove(worker)
    ending = _endings.pop(worker.pid, None)
    timed_out = worker.pid in _timed_out
    _timed_out.discard(worker.pid)
    requests = worker.in_flight.interrupted()
    if ending is None and not all(one.reported for one in requests):
        ending = "exited with status 0"
    if _stopping and not _visitors(requests) and ending is not None and "SIGKILL" in ending:
        ending = None  # it was sending a mail, or hung in a request that is reported already
    if ending is not None or worker.in_flight.end_is_reported or requests:
        worker_metrics.count_loss()
    if ending is not None and not worker.in_flight.end_is_reported:
        if timed_out:
            ending += f" from gunicorn: its main loop did not run for {worker.cfg.timeout} s"
        _report(worker, ending)
    worker.in_flight.close()
    worker.last_stack.close()


def _report(worker: Any, ending: str) -> None:
    requests = worker.in_flight.interrupted()
    stack = _read(worker.last_stack)
    visitors = _visitors(requests)
    # A response that was being sent may be complete, so its request is blamed only if no other is
    # left.
    unanswered = [one for one in visitors if not one.responding] or visitors
    blamed = _request_of_crashed_thread(requests, stack)
    if blamed is None and len(unanswered) == 1:
        blamed = unanswered[0]
    logger.critical(
        "Worker %s %s",
        worker.pid,
        ending,
        extra={
            ENVIRON: None if blamed is None else _environ(blamed),
            REQUESTS: [_as_data(one) for one in requests],
            STACK: stack.rstrip(),
        },
    )
    for one in visitors:
        if one is not blamed:  # so that the log has a line with each request id
            logger.warning(
                "%s because worker %s %s: %s %s",
                "Perhaps cut off" if one.responding else "Cut off",
                worker.pid,
                ending,
                one.method,
                path_of(_environ(one)),
                extra={ENVIRON: _environ(one)},
            )


def _as_data(request: InterruptedRequest) -> dict[str, str]:
    """Return a request as a report keeps it."""
    return {
        "request_id": request.request_id,
        "method": request.method,
        "path": path_of(_environ(request)),
        "state": REPORTED
        if request.reported
        else RESPONDING
        if request.responding
        else INTERRUPTED,
    }


def _visitors(requests: list[InterruptedRequest]) -> list[InterruptedRequest]:
    """Return the requests of visitors that have no report of their own."""
    return [one for one in requests if one.path not in HEALTH_PATHS and not one.reported]


def _request_of_crashed_thread(
    requests: list[InterruptedRequest], stack: str
) -> InterruptedRequest | None:
    """Return the request of the thread that crashed, if faulthandler has named it."""
    thread = CRASHED.search(stack)
    if thread is None:
        return None
    return next((one for one in requests if one.thread == int(thread[1], 16)), None)


def _environ(request: InterruptedRequest) -> dict[str, str]:
    return {
        request_id.ENVIRON_KEY: request.request_id,
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
    }


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read()
