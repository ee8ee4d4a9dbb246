"""The mail: every error becomes a report in the outbox, which the courier delivers."""

from __future__ import annotations

import logging

from ..courier.courier import Courier
from ..redaction.redactor import Redactor
from ..report.breadcrumbs import Breadcrumbs
from ..report.builder import ReportBuilder
from ..report.own_code import OwnCode
from ..settings import Settings
from ..spool.outbox import Outbox
from . import excepthooks as hooks
from .handler import ReportHandler


def configure(
    settings: Settings, redactor: Redactor, *, root_path: str, debug: bool
) -> Courier | None:
    """Report the errors of every logger; return the courier, which runs once it is asked to.

    ``root_path`` is the folder of the app's own code. In debug mode there is nothing to
    configure: the developer looks at the debugger.
    """
    remove()
    if debug:
        return None
    outbox = Outbox(settings.spool.folder, settings.spool.max_bytes)
    courier = Courier(settings, outbox)
    root = logging.getLogger()
    app = settings.app
    own_code = OwnCode(root_path, app.own_code)
    builder = ReportBuilder(redactor, own_code, app.name, app.environment, app.release)
    root.addHandler(ReportHandler(settings, builder, outbox, courier))
    root.addHandler(Breadcrumbs())
    hooks.install(courier)
    return courier


def remove() -> None:
    """Take our handlers off again, for an app that is made a second time in one process."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, Breadcrumbs):
            root.removeHandler(handler)
        if not isinstance(handler, ReportHandler):
            continue
        root.removeHandler(handler)
        hooks.remove(handler.courier)
        handler.outbox.close()
