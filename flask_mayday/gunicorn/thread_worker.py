"""gunicorn's threaded worker, changed so that connections do not wait or break.

It accepts only as many connections as it has threads. gunicorn's own accepts a thousand: they
would wait for a thread that hangs while another worker is idle.

It closes its listening sockets when it stops accepting. gunicorn's own keeps them open until its
last request is done. Meanwhile the kernel would queue connections that are never served, and nginx
would not send a POST among them to another container.

It reads the rest of a large body that the app has not read, after a 404 for instance. Otherwise
the connection breaks while nginx is still sending, and the visitor gets a 502.

It starts its threads before its first request. gunicorn's own starts each when it is needed: if the
system allows no more threads then, the worker ends in the middle of its requests.

It closes a connection in the thread that served it. gunicorn's own does that in the main loop,
which accepts no other connection while it waits, for up to two seconds, for the client to close.

It accepts connections only from the hosts that ``WEB_PEERS`` names, except on ``STATUS_PORT``.

It retires when it lacks file descriptors or memory for more connections, so that the master
replaces it.

Before an orderly stop, it serves the connections that are still queued.

It updates its heartbeat file at most twice a second. gunicorn's own does so after each event of the
main loop.

It makes no selector to wait for a request that has already arrived.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from gunicorn.workers.gthread import TConn, ThreadWorker

from ..context import request_id
from ..context.in_flight import RequestTable
from ..context.threads import submit_without_request
from .exhaustion import FILES, MEMORY, lack_of_descriptors
from .peers import GuardedListener, Peers
from .server import server_settings

BODY_TIMEOUT: Final = 5.0  # seconds to read the rest of a body
BODY_BYTES: Final = 1 << 30  # of the rest of a body: nginx passes on what MAX_BODY allows
END_GRACE: Final = 2.0  # seconds for the watchdog to end a retired worker
HEARTBEAT_INTERVAL: Final = 0.5  # seconds
EXHAUSTED: Final = {  # what the worker lacks, by the error of an accept
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.ENOBUFS: MEMORY,
    errno.ENOMEM: MEMORY,
}

logger = logging.getLogger(__name__)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves one connection per thread; before it stops, it serves those that are queued."""

    alive: bool
    in_flight: RequestTable
    nr_conns: int
    sockets: list[Any]
    tpool: Any
    first_scarce_descriptor = sys.maxsize  # from this number on, too few descriptors are left
    _accepting: bool
    _is_retiring = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Called with the reason, as the predicate of a sentence, and with what is lacking. The
        # watchdog sets its own function here, which also reports the reason.
        self.replace: Callable[[str, str], None] = lambda reason, kind: self.retire()
        self.worker_connections = self.cfg.threads
        self.max_keepalived = 0  # nginx opens a connection for each request: see responses.py
        settings = server_settings()
        self.peers = Peers(settings.peers)
        self.status_port = settings.status_port
        self._guarded_listeners: dict[Any, Any] = {}
        self._next_heartbeat = 0.0  # of time.monotonic

    def run(self) -> None:
        """Start the threads, then serve until the worker ends."""
        self._start_threads()
        super().run()
        if self._is_retiring:
            # The watchdog ends the process without Python's clean-up, which would wait for mails.
            # The replacement starts only then.
            time.sleep(END_GRACE)

    def _start_threads(self) -> None:
        """Start as many threads as possible; raise :exc:`RuntimeError` if there is not one."""
        all_started = threading.Event()
        started = 0
        try:
            for _ in range(self.cfg.threads):
                self.tpool.submit(all_started.wait)
                started += 1
        except RuntimeError:
            if not started:
                raise
            # The pool would otherwise try again in the main loop, and fail.
            self.tpool._max_workers = self.worker_connections = started
            logger.error(
                "Worker %d can start only %d of %d threads: lower WEB_THREADS or WEB_CONCURRENCY, "
                "or raise the container's pids_limit",
                os.getpid(),
                started,
                self.cfg.threads,
            )
        finally:
            all_started.set()

    def accept(self, listener: Any) -> None:
        """Accept a connection; if there is no file descriptor or memory for it, retire."""
        try:
            super().accept(self._guarded(listener))
        except OSError as error:
            kind = EXHAUSTED.get(error.errno or 0)
            if kind is None:
                raise
            self.replace(f"cannot accept connections: {error.strerror}", kind)

    def _guarded(self, listener: Any) -> Any:
        """Return the listener without the connections of hosts that may not connect."""
        guarded = self._guarded_listeners.get(listener)
        if guarded is None:
            address = listener.getsockname()
            is_open = isinstance(address, str | bytes) or address[1] == self.status_port
            is_guarded = self.peers.names and not is_open
            guarded = GuardedListener(listener, self.peers) if is_guarded else listener
            self._guarded_listeners[listener] = guarded
        return guarded

    def notify(self) -> None:
        """Update the heartbeat file, unless that was done less than half a second ago."""
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_INTERVAL
            super().notify()

    def enqueue_req(self, conn: TConn) -> None:
        """Serve a connection in a thread, which also closes it.

        gunicorn's own closes it in the main loop, which accepts no connection while it waits for
        the client to close its side.
        """
        submit_without_request(self.tpool, self._serve, conn)

    def _serve(self, conn: TConn) -> None:
        try:
            keeps_connection = self.handle(conn)
            if keeps_connection is False:
                conn.close(graceful=True)
                self.method_queue.defer(self._count, -1)
                return
        except BaseException as error:  # the main loop raises it
            outcome: Future[Any] = Future()
            outcome.set_exception(error)
        else:
            outcome = Future()
            outcome.set_result(keeps_connection)
        finally:
            request_id.forget()
        self.method_queue.defer(self.finish_request, conn, outcome)

    def handle(self, conn: TConn) -> Any:
        """Serve a connection; retire if it shows that file descriptors are running out.

        The kernel gives each file the lowest free number, so a high one means that few are left.
        """
        if conn.sock.fileno() >= self.first_scarce_descriptor:
            self.replace(lack_of_descriptors(), FILES)
        if not conn.initialized:
            # Usually the request has arrived: gunicorn would make a selector to wait for it.
            conn.data_ready = conn.data_ready or _is_readable(conn.sock)
        return super().handle(conn)

    def take_from_queue(self) -> TConn | None:
        """Accept a queued connection without serving it, or return ``None``; for any thread."""
        for listener in self.sockets:
            try:
                client, address = self._guarded(listener).accept()
                return TConn(self.cfg, client, address, listener.getsockname())
            except OSError:
                continue
        return None

    def hold(self, conn: TConn) -> Future[Any]:
        """Serve a connection as soon as a thread is free, although all are busy now.

        Callable from any thread. Until then, the future that it returns can be cancelled.
        """
        self.method_queue.defer(self._count, 1)
        return submit_without_request(self.tpool, self._serve, conn)

    def uncount(self) -> None:
        """Undo :meth:`hold`, whose future was cancelled."""
        self.method_queue.defer(self._count, -1)

    def _count(self, change: int) -> None:
        self.nr_conns += change

    def retire(self) -> None:
        """Accept no more connections and finish the requests in progress; callable from any thread.

        Queued connections are left to the other workers and to the replacement of this one.
        """
        self._is_retiring = True
        self.handle_exit(signal.SIGTERM, None)

    def has_at_most(self, connections: int) -> bool:
        """Return whether it has stopped accepting and has at most this many connections."""
        return not self._accepting and self.nr_conns <= connections

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting; close the listening sockets if the worker is ending."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                if not self._is_retiring:
                    self._serve_queue(listener)
                listener.close()

    def _serve_queue(self, listener: Any) -> None:
        served = -1
        while served != self.nr_conns:
            served = self.nr_conns
            self.accept(listener)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        # gunicorn's own reads the rest only if the connection is kept.
        deadline = time.monotonic() + BODY_TIMEOUT
        read = conn.parser.finish_body(deadline=deadline, max_bytes=BODY_BYTES)
        return keepalive and bool(read)


def _is_readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
