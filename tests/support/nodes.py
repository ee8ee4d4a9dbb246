"""Machines of a swarm, each as a process with a courier and a spool of its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask_mayday.report.report import Report
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_report

ROOT = Path(__file__).resolve().parents[2]
QUOTA = 64 << 20  # bytes
WINDOW = 4  # seconds: REPORT_WINDOW
# The service watch without a site, with shorter times for the tests.
PROGRAM = """
import sys
from flask_mayday.agreement import board, connection, statements
from flask_mayday.courier import shared_planner
board.GRACE, board.EXPIRY, board.RECOVERY_TIME = 1.5, 4.0, 3.0
connection.RETRY_AFTER = (0.2, 1.0)
connection.CALL_TIMEOUT = {call_timeout}
connection.BUSY_PATIENCE = 60.0
assert "2500" in statements.SHARED and "2500" in statements.EXCLUSIVE
statements.SHARED = statements.SHARED.replace("2500", "30000")
statements.EXCLUSIVE = statements.EXCLUSIVE.replace("2500", "30000")
shared_planner.RENEW_INTERVAL = 1.0
shared_planner.TAKE_BACK_AFTER = 3.0
shared_planner.AWAIT_PAUSES = (0.5, 1.0)
{extra}
from flask_mayday.watch.__main__ import main
sys.exit(main())
"""


@dataclass
class Node:
    """A machine: its spool, and the process that delivers from it.

    It waits for PostgreSQL for ``call_timeout`` seconds before it decides alone. They are few only
    where PostgreSQL is meant to fail.
    """

    name: str
    folder: Path
    settings: dict[str, str]
    call_timeout: float = 30.0
    process: subprocess.Popen[bytes] | None = None
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.folder / "spool", QUOTA)

    def start(self, extra: str = "") -> Node:
        """Start the courier; ``extra`` is code that runs before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **self.settings,
            "NODE_NAME": self.name,
            "SPOOL_DIR": str(self.folder / "spool"),
            "LOG_DIR": str(self.folder / "logs"),
            "TMPDIR": str(self.folder),
        }
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(extra=extra, call_timeout=self.call_timeout)],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the courier with a signal; return its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process = None
        return status

    def fail(self, kind: str = "a", times: int = 1) -> None:
        """Record identical errors, as an app of this machine does."""
        for _ in range(times):
            self.outbox.put(self._report(kind), mailable=True)

    def _report(self, kind: str) -> Report:
        return a_report(
            f"boom {kind}",
            fingerprint=f"1{kind}",
            type="ValueError",
            where=f"at GET /{kind}",
            logger=f"route {kind}",
            request_id=uuid.uuid4().hex,
            node=self.name,
        )

    def unsettled(self) -> int:
        """Return how many recorded errors are in no delivered mail yet, as far as it knows."""
        waiting = len(list(self.outbox.incoming.waiting()))
        path = self.folder / "spool" / "reports.db"
        if waiting or not path.exists():
            return waiting
        with closing(sqlite3.connect(path, timeout=60)) as database:
            query = (
                "SELECT count(*) FROM reports LEFT JOIN mails ON mails.id = mail_id"
                " WHERE mailable AND state IS NOT 'delivered'"
            )
            return int(database.execute(query).fetchone()[0])

    @property
    def output(self) -> str:
        """What the process has printed."""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")


def settings_for(smtp_server: Any, url: str, **others: str) -> dict[str, str]:
    """Return the settings of every node."""
    return {
        **smtp_server.settings,
        "COURIERS_AGREE": "1",
        "AGREEMENT_URL": url,
        "REPORT_WINDOW": str(WINDOW),
        **others,
    }
