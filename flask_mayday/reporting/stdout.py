"""Writes the log to stdout as well, for the container engine."""

from __future__ import annotations

import logging
import sys

from . import registry


class StdoutHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes each record to stdout, formatted and redacted as in the log of its app."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line as it is in the log file, if the level of that log lets it through."""
        pipeline = registry.pipeline_of(record)
        if pipeline is not None and record.levelno >= pipeline.log_file.level:
            self.formatter = pipeline.formatter
            super().emit(record)


def install() -> None:
    """Write the log to stdout, unless the root logger has a handler for a stream already."""
    root = logging.getLogger()
    if not any(
        isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
        for handler in root.handlers
    ):
        root.addHandler(StdoutHandler())
