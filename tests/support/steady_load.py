"""A steady load: requests start at fixed times, however long each takes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RATE = 20  # requests a second
MAXIMUM = 60 * 60 * RATE  # an hour: a test that hangs must not load the machine for ever
WAITING = 16  # requests at most: a busy machine must not be given more than it can answer


@contextmanager
def steady_load(*asks: Callable[[], int]) -> Iterator[Counter[int | str]]:
    """Call ``asks`` in turn, 20 times a second, during the block; count statuses and exceptions.

    While 16 calls have not returned, no other is made.
    """
    outcomes: Counter[int | str] = Counter()
    ended = threading.Event()
    free = threading.Semaphore(WAITING)
    threads: list[threading.Thread] = []

    def send(ask: Callable[[], int]) -> None:
        try:
            outcomes[ask()] += 1
        except Exception as error:
            outcomes[repr(error)] += 1
        finally:
            free.release()

    def send_all() -> None:
        begun = time.monotonic()
        for number in range(MAXIMUM):
            if ended.wait(max(0.0, begun + number / RATE - time.monotonic())):
                return
            if free.acquire(blocking=False):
                ask = asks[len(threads) % len(asks)]
                threads.append(threading.Thread(target=send, args=(ask,)))
                threads[-1].start()

    sender = threading.Thread(target=send_all)
    sender.start()
    try:
        yield outcomes
    finally:
        ended.set()
        sender.join()
        for thread in threads:
            thread.join()
