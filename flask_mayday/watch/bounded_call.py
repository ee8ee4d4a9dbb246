"""Waits for a function that may hang, such as a write to a broken disk, for a bounded time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BoundedCall(Generic[T]):
    """Calls ``function`` in a thread and waits for it for at most ``timeout`` seconds.

    ``name`` is the subject of the messages, such as "reading the spool".

    Only one call runs at a time: as long as an earlier one hangs, calling raises
    :exc:`TimeoutError` at once. What a late call returns is dropped.
    """

    def __init__(self, name: str, function: Callable[..., T], timeout: float) -> None:
        self.name = name
        self.function = function
        self.timeout = timeout
        self._thread: threading.Thread | None = None

    def __call__(self, *arguments: Any) -> T:
        """Return what the function returns, or raise what it raises, or :exc:`TimeoutError`."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError(f"{self.name} has not ended yet")
        outcome: list[T] = []
        failure: list[Exception] = []

        def run() -> None:
            try:
                outcome.append(self.function(*arguments))
            except Exception as error:
                failure.append(error)

        thread = self._thread = threading.Thread(target=run, name=self.name, daemon=True)
        thread.start()
        thread.join(self.timeout)
        if thread.is_alive():
            raise TimeoutError(f"{self.name} takes more than {self.timeout:.0f} s")
        if failure:
            raise failure[0]
        return outcome[0]
