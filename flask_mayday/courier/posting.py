"""The thread that posts to the webhook, so that a slow webhook does not delay mail."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from ..settings import WebhookSettings
from ..spool.database import Database, LeaseLostError
from .webhook import TIMEOUT, WebhookDelivery

POLL_INTERVAL: Final = 0.2  # seconds between two checks for new messages
FULL_INTERVAL: Final = 1.0  # seconds between two checks for retries

logger = logging.getLogger(__name__)


class PostingThread:
    """Posts from the database at ``path`` while its courier, which has ``epoch``, delivers mail."""

    def __init__(self, path: Path, epoch: int | None, webhook: WebhookSettings) -> None:
        self.path = path
        self.epoch = epoch
        self.webhook = webhook
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Start the thread, if there is a webhook."""
        if self.webhook.url:
            self._thread.start()

    def stop(self) -> None:
        """Wait until the thread has ended, which may first finish the post that it is sending."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 1)

    def _run(self) -> None:
        trouble = ""
        while not self._stopping.is_set():
            try:
                with closing(Database(self.path)) as database:
                    database.epoch = self.epoch
                    self._post(database)
                return
            except LeaseLostError:
                return  # the courier's thread ends too, and says so
            except Exception as error:
                # The thread must not end: nothing else posts. The same trouble is logged once.
                if str(error) != trouble:
                    trouble = str(error)
                    logger.warning("Cannot post from %s", self.path, exc_info=True)
            self._stopping.wait(FULL_INTERVAL)

    def _post(self, database: Database) -> None:
        delivery = WebhookDelivery(database, self.webhook, self._stopping)
        seen, looked = -1, 0.0
        while not self._stopping.is_set() and database.is_current():
            now = time.time()
            changes = database.change_number()
            if changes != seen or not 0 <= now - looked < FULL_INTERVAL:
                seen, looked = changes, now
                delivery.run(now)
            self._stopping.wait(POLL_INTERVAL)
