"""Serves the metrics of the spool and of the site on a port of its own, for Prometheus."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ..metrics.exposition import CONTENT_TYPE, PATH, exposition
from ..metrics.instruments import instruments
from ..metrics.spool_collector import SpoolCollector
from ..spool.figures import read_figures
from .alerts import SPOOL_TIMEOUT
from .bounded_call import BoundedCall
from .machine_checks import MachineChecks
from .watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from prometheus_client.core import Metric

RETRY_INTERVAL: Final = 5.0  # seconds between two tries to listen
CLIENT_TIMEOUT: Final = 10.0  # seconds for a client to send its request

logger = logging.getLogger("flask_mayday.watch")


class Exporter:
    """Serves ``/metrics`` at ``host`` and ``port``, in threads of its own."""

    def __init__(self, machine_checks: MachineChecks, host: str, port: int) -> None:
        self.address = (host, port)
        outbox = machine_checks.outbox
        read = BoundedCall("reading the spool", read_figures, SPOOL_TIMEOUT)
        self.collectors = (
            SpoolCollector(
                lambda: read(outbox),
                lambda: machine_checks.spool_trouble,
                machine_checks.settings.spool.max_bytes,
            ),
            _SiteCollector(machine_checks.watcher),
            instruments().log_rotations,
            instruments().log_failed_writes,
        )

    def start(self, stopping: threading.Event) -> None:
        """Listen, and serve until the process ends; if that fails, try again after a pause."""
        threading.Thread(target=self._run, args=(stopping,), name="metrics", daemon=True).start()

    def _run(self, stopping: threading.Event) -> None:
        problem = ""
        while not stopping.is_set():
            try:
                with _Server(self.address) as server:
                    server.set_app(self)
                    host, port = self.address
                    shown = f"[{host}]" if ":" in host else host
                    logger.info("Metrics are served at http://%s:%d%s", shown, port, PATH)
                    server.serve_forever()
            except OSError as error:
                if str(error) != problem:
                    problem = str(error)
                    logger.warning("Cannot listen at WATCH_METRICS %s:%d: %s", *self.address, error)
            stopping.wait(RETRY_INTERVAL)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a scrape (PEP 3333)."""
        if environ.get("PATH_INFO") != PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There are only metrics on this port.\n"]
        body = exposition(*self.collectors)
        start_response("200 OK", [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")])
        return [body]


class _SiteCollector:
    """Collects the results of the checks of the site."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self.watcher.pipeline.settings.watch.checks_site:
            is_up = not self.watcher.last_check.trouble
            text = "1: the last check of the site succeeded."
            yield GaugeMetricFamily("mayday_site_up", text, float(is_up))
        pages = CounterMetricFamily(
            "mayday_edge_error_pages",
            "Error pages that nginx sent in the app's place, since watch started.",
            labels=["status"],
        )
        for status, count in list(self.watcher.edge_pages.items()):
            pages.add_metric([status], count)
        yield pages


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's full name, which may wait for a name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a client that sends no whole request; the default prints a traceback to stderr."""
        del request
        logger.debug("A request from %s failed", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT

    def log_message(self, *_: Any) -> None:
        """Log nothing: scrapes are frequent."""
