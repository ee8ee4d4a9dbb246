"""Exceptions that end a thread or the process, or cannot propagate, are logged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flask_mayday.reporting import excepthooks


class Empty(Exception):  # noqa: N818
    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __len__(self) -> int:
        return 0


def test_an_exception_that_is_false_and_cannot_propagate_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = Empty("from a destructor")
    failure: Any = SimpleNamespace(
        exc_type=Empty, exc_value=error, exc_traceback=None, object=Empty.__len__
    )
    excepthooks.ignored(failure)
    assert "Exception ignored in Empty.__len__" in caplog.text
    assert "from a destructor" in caplog.text
