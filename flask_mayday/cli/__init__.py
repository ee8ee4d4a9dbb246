"""The commands ``flask mayday`` and, as a short form, ``flask reports``."""

from __future__ import annotations

from flask import Flask
from flask.cli import AppGroup

from . import errors, reports
from .command_group import group

__all__ = ["add_commands", "errors", "group", "mayday", "reports"]

mayday = AppGroup("mayday", help="Flask Mayday: error reports and mail.")
mayday.add_command(group)


def add_commands(app: Flask) -> None:
    """Add ``flask mayday`` and ``flask reports``, the short form of ``flask mayday reports``.

    An app's own commands of these names are left alone.
    """
    app.cli.commands.setdefault("mayday", mayday)
    app.cli.commands.setdefault("reports", group)
