"""What the commands share: the app's settings, its spool, and text that is safe to print."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import click
from flask import current_app
from flask.cli import AppGroup

from ..courier.lease import expired_since, is_locked
from ..log.formats import escape_controls
from ..mail.times import moment
from ..settings import Settings, read_settings
from ..spool.inventory import Inventory
from ..spool.stored_report import StoredReport
from .open_spool import open_spool

NO_COURIER: Final = (
    "No process is delivering mail: it stays queued until the server or the watch process runs."
)

group = AppGroup("reports", help="Read and control the error reports in the spool.")


def settings_of_app() -> Settings:
    """Return the settings of the current app."""
    if "mayday" in current_app.extensions:
        settings: Settings = current_app.extensions["mayday"].settings
        return settings
    # The server has added the extension to an app that does not use it itself.
    folder = Path(current_app.instance_path)
    return read_settings(
        current_app.config, import_name=current_app.import_name, instance_path=folder
    )


class NumberRange(click.FloatRange):
    """A range of numbers that refuses ``nan``, for which every comparison is false."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number in ``value``. Raises :exc:`click.BadParameter`."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def open_inventory() -> AbstractContextManager[tuple[Inventory, list[StoredReport]]]:
    """Open the spool of the current app, as :func:`.open_spool` does."""
    return open_spool(settings_of_app().spool.folder)


def show_text(text: str) -> None:
    """Print text that may come from outside, with control characters escaped."""
    for line in text.split("\n"):
        click.echo(escape_controls(line))


def warn_without_courier() -> None:
    """Warn on stderr if no process is delivering mail."""
    folder = settings_of_app().spool.folder
    if (since := expired_since(folder)) is not None:
        click.echo(
            f"The courier has not renewed its lease since {moment(since)}: its process is frozen. "
            "Another process takes over if one is running.",
            err=True,
        )
    elif not is_locked(folder):
        click.echo(NO_COURIER, err=True)
