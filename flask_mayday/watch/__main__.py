"""The ``watch`` process: ``python -m flask_mayday.watch``, with settings from the environment.

It checks the site, reports when the site does not answer, and delivers mail if it holds the
courier's lease. SIGTERM ends it.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from ..reporting import stdout
from ..reporting.standalone import settings_of_environment, start_pipeline
from ..settings import ConfigurationError
from .exporter import Exporter
from .machine_checks import MachineChecks
from .watcher import Watcher

COURIER_GRACE: Final = 5.0  # seconds for the mail that is being sent
ALIVE: Final = Path(tempfile.gettempdir(), "watch.alive")  # for the container's health check

logger = logging.getLogger("flask_mayday.watch")


def main() -> int:
    """Watch until a signal ends the process; return its exit status."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = settings_of_environment()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    stdout.install()
    pipeline = start_pipeline(settings)
    pipeline.courier.ensure_running()
    watcher = Watcher(pipeline)
    machine_checks = MachineChecks(watcher)
    threading.Thread(target=machine_checks.run, args=(stopping,), daemon=True).start()
    if settings.watch.metrics is not None and settings.server.metrics:
        Exporter(machine_checks, *settings.watch.metrics).start(stopping)
    logger.info("Watch startup, site: %s", settings.watch.site_url or "none")
    watcher.run(stopping, ALIVE)
    pipeline.courier.stop(COURIER_GRACE)
    logger.info("Watch shutdown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
