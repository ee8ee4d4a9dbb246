"""The log's lines on stdout, where a container's engine reads them."""

from __future__ import annotations

import logging
import sys

from ..reporting import registry


class StdoutHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes each record to stdout, in the form and with the redaction of its app's log."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through what the app's log takes."""
        pipeline = registry.pipeline_of(record)
        return pipeline is not None and record.levelno >= pipeline.log_file.level

    def format(self, record: logging.LogRecord) -> str:
        """Return the line that the log file gets too."""
        pipeline = registry.pipeline_of(record)
        return "" if pipeline is None else pipeline.formatter.format(record)


def install() -> None:
    """Write to stdout, unless the root logger has a handler that writes to a stream already."""
    root = logging.getLogger()
    if not any(isinstance(handler, logging.StreamHandler) for handler in root.handlers):
        root.addHandler(StdoutHandler())
