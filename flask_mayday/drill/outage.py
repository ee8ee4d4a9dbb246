"""Samples of the mails that watch sends about an outage, for the page ``/drill/outage``."""

from __future__ import annotations

import time
from typing import Final

from ..context import request_id
from ..mail.message import Envelope, render_report
from ..reporting.pipeline import Pipeline
from ..watch import texts
from ..watch.alerts import report_of
from ..watch.state import ErrorPages

DOWN_FOR: Final = 252.0  # seconds
PAGES: Final = ErrorPages(
    {"502": 37},
    [{"request_id": f"{number:032x}", "method": "GET", "path": "/explore"} for number in (1, 2)],
)


def sample_mail(kind: str, pipeline: Pipeline) -> bytes:
    """Return the mail that an outage begins with (``down``), or ends with (``back``)."""
    began = time.time() - DOWN_FOR
    if kind == "down":
        seen = [(began + second, "502 Bad Gateway") for second in range(0, 9, 2)]
        alert = texts.site_down(began, seen, "No container of web is running.", ErrorPages())
    else:
        alert = texts.site_back(began, began + DOWN_FOR, PAGES)
    environ = request_id.current_environ()
    request_id.resume(None)  # watch serves no request, so its mails name none
    try:
        report, _ = report_of(alert, pipeline.reports.builder)
    finally:
        request_id.resume(environ)
    settings = pipeline.settings
    mail, app = settings.mail, settings.app
    return render_report(report, Envelope(mail.sender, mail.admins, "<sample>", None, began, app))
