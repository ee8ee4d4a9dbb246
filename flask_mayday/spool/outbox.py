"""The outbox: records every report durably before its request is answered.

A report is appended to a file of this process, which the courier takes. If it cannot be written, it
stays in memory until it can. No request waits for the database, for another process, or for mail.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

from ..forks import reset_in_child
from ..report.report import Report
from ..report.wording import counted
from .incoming import Incoming, ReportFile
from .memory import MemoryBacklog
from .stored_report import StoredReport

LOCK_TIMEOUT: Final = 0.05  # seconds that a thread waits for the others of its process
# Shares of SPOOL_MAX_BYTES: the files of incoming/, the database's WAL, the database itself.
INCOMING_SHARE: Final = 0.25
WAL_SHARE: Final = 0.25
DATABASE_SHARE: Final = 0.5

logger = logging.getLogger(__name__)


class NotDurableError(Exception):
    """A report could not be written: it is in memory until :meth:`Outbox.flush` succeeds."""


class Outbox:
    """The spool in ``folder``; ``max_bytes`` bounds the whole of it.

    Nothing is opened or made before the first report.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.path = folder / "reports.db"
        self.incoming = Incoming(folder / "incoming")
        self.backlog = MemoryBacklog()
        self._file = ReportFile(self.incoming.folder, int(max_bytes * INCOMING_SHARE))
        self._lock = threading.Lock()
        reset_in_child(self, Outbox._reset_in_child)

    def put(self, report: Report, *, mailable: bool) -> None:
        """Record ``report``: one write, or two while older reports are held in memory.

        Before each write it waits up to 50 ms for other threads of this process. Raises
        :exc:`NotDurableError` if only memory could take it.
        """
        stored = StoredReport.of(report, mailable=mailable)
        try:
            self._append(stored)
        except OSError as error:
            self.backlog.add(stored)
            raise NotDurableError(f"{type(error).__name__}: {error}") from error
        if len(self.backlog):
            self._flush_one()  # a process without a courier has no other opportunity

    def flush(self) -> None:
        """Write the reports in memory to disk, if possible, and log how many were dropped."""
        while self._flush_one():
            pass
        if not len(self.backlog) and (dropped := self.backlog.take_dropped()):
            logger.error(
                "%s dropped: the spool %s could not be written and the memory for reports was "
                "full. The log still has %s",
                f"{counted(dropped, 'error report')} {'was' if dropped == 1 else 'were'}",
                self.folder,
                "it" if dropped == 1 else "them",
            )

    def trouble(self) -> str:
        """Return what is wrong, as a predicate of "the spool", or an empty string."""
        if held := len(self.backlog):
            verb = "is" if held == 1 else "are"
            return f"cannot be written; {counted(held, 'report')} {verb} held in memory only"
        for folder in (self.folder, self.incoming.folder):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                return f"cannot be written: check the owner of {folder}"
        if files := self.incoming.unreadable():
            unreadable = counted(len(files), "unreadable file")
            return f"has {unreadable}: check the owner in {self.incoming.folder}"
        return ""

    def close(self) -> None:
        """Close the file of this process."""
        with self._lock:
            self._file.close()

    def _flush_one(self) -> bool:
        stored = self.backlog.first()
        if stored is None:
            return False
        try:
            self._append(stored)
        except OSError:
            return False
        self.backlog.remove(stored)
        return True

    def _append(self, stored: StoredReport) -> None:
        line = stored.to_line()
        if self._lock.acquire(timeout=LOCK_TIMEOUT):
            try:
                self._file.append(line)
            finally:
                self._lock.release()
            return
        # Another thread hangs in its write, or the machine is very busy.
        with closing(ReportFile(self.incoming.folder, self._file.max_bytes)) as file:
            file.append(line)

    def _reset_in_child(self) -> None:
        self._lock = threading.Lock()
        self._file.close()  # it is the parent's
        self.backlog.reset_in_child()
