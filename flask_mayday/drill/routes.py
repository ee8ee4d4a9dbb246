"""Serves ``/drill``: a button for each drill, previews of the error pages, and the mails."""

from __future__ import annotations

import email
import json
import re
from email.policy import default
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Response, abort, current_app, request

from ..context import request_id
from ..pages.error_pages import ErrorPages, environment
from ..pages.negotiation import prefers_json
from ..pages.style_policy import MAIL_POLICY, POLICY, allow_inline_style
from ..pages.words import WORDS
from ..report.request import ROUTE
from ..report.wording import counted
from ..settings import is_loopback
from .drills import DRILLS, DrillNotPossibleError, DrillUnavailableError
from .outage import sample_mail

PATH: Final = re.compile(
    r"/drill(?:/(?:"
    r"(?P<outage>outage)(?:/mail/(?P<sample>down|back))?"
    r"|(?P<pages>pages)(?:/(?P<status>\d{3})|/nginx/(?P<nginx>\d{3}))?"
    r"|mail/(?P<mail>[0-9a-f]{32})"
    r"|(?P<kind>[a-z-]+)"
    r"))?/?"
)
NGINX_PAGES: Final = (400, 403, 404, 405, 412, 413, 414, 429, 431, 500, 501, 502, 503, 504, 505)
UNSAFE_HOST: Final = (
    "Drills can be used at http://127.0.0.1 or http://localhost, and at the names in the app's "
    "settings SERVER_NAME and TRUSTED_HOSTS."
)
MAIL_RELOADS: Final = 60  # of the page that waits for a mail, one per second


class DrillRoutes:
    """Answers requests for ``/drill`` before the app sees them, in a ``before_request`` function.

    So the app's login and CSRF checks do not apply, and its error handlers do. Where the app has
    a route at the same path, the app answers.
    """

    def __init__(self, pages: ErrorPages) -> None:
        self.pages = pages
        self._app_paths: frozenset[str] | None = None  # read at the first request for /drill

    def answer(self) -> Response | None:
        """Return the response to a request for ``/drill``; ``None`` if the app is to answer."""
        if not request.path.startswith("/drill"):
            return None
        found = PATH.fullmatch(request.path)
        if found is None or self._is_route_of_the_app():
            return None
        if not _is_safe_host(request.host):
            abort(403, UNSAFE_HOST)
        if request.method == "POST":
            return self._run(found["kind"])
        if request.method not in ("GET", "HEAD"):
            abort(405, valid_methods=["GET", "HEAD"])
        return self._show(found)

    def _is_route_of_the_app(self) -> bool:
        if self._app_paths is None:
            rules = current_app.url_map.iter_rules()
            self._app_paths = frozenset(rule.rule.rstrip("/") for rule in rules)
        return request.path.rstrip("/") in self._app_paths

    def _run(self, kind: str | None) -> Response:
        drill = DRILLS.get(kind or "")
        if drill is None:
            abort(404)
        request.environ[ROUTE] = "/drill/<kind>"
        origin = request.headers.get("Origin")
        if origin is not None and not _is_own(origin):
            abort(403, "This form was sent from another site. Open /drill on this site.")
        try:
            response = drill()
        except DrillNotPossibleError as error:  # the page says why; there is no error to report
            request.environ[request_id.REPORTED_KEY] = True
            return self.pages.page(501, detail=str(error))
        except DrillUnavailableError as error:
            return self.pages.answer_unavailable(error, str(error))
        if response.mimetype == "application/json" and _wants_page():
            counts = json.loads(response.get_data())
            return self._render("counts.html", kind=kind, counts=counts)
        return response

    def _show(self, found: re.Match[str]) -> Response:
        if found["outage"]:
            return self._outage(found["sample"])
        if status := found["status"] or found["nginx"]:
            return self._preview(int(status))
        if found["mail"]:
            return self._mail(found["mail"])
        if found["kind"]:
            if found["kind"] not in DRILLS:
                abort(404)
            abort(405, valid_methods=["POST"])
        if found["pages"]:
            nginx = NGINX_PAGES if self._is_behind_nginx else ()
            return self._render("error_pages.html", words=WORDS, nginx=nginx)
        return self._render("drill.html", settings=self.pages.settings)

    def _preview(self, status: int) -> Response:
        """Return an error page without an error, and so without a report.

        nginx replaces those under ``/drill/pages/nginx`` with its own.
        """
        if status not in WORDS:
            abort(404)
        request.environ[request_id.REPORTED_KEY] = True
        return self.pages.page(status)

    def _mail(self, identifier: str) -> Response:
        """Return the mail about a request, or a page that reloads until the mail is there."""
        content = current_app.extensions["mayday"].courier.mail_of(identifier)
        if content is None:
            return self._no_mail(identifier)
        return _mail_page(content)

    def _outage(self, sample: str | None) -> Response:
        """Return the page on what happens when the site is down, or a sample of a mail about it."""
        if sample is None:
            return self._render("outage.html")
        return _mail_page(sample_mail(sample, current_app.extensions["mayday"]))

    def _no_mail(self, identifier: str) -> Response:
        reloads = request.args.get("reloads", 0, int)
        waits = self.pages.settings.mail.server is not None and 0 <= reloads < MAIL_RELOADS
        response = self._render("no_mail.html", request_id=identifier, waits=waits)
        if waits:
            response.headers["Refresh"] = f"1; url={request.path}?reloads={reloads + 1}"
        return response

    @property
    def _is_behind_nginx(self) -> bool:
        return bool(self.pages.settings.trusted_proxies)

    def _render(self, template: str, **values: Any) -> Response:
        settings = self.pages.settings
        text = environment.get_template(template).render(
            app_name=settings.app.name,
            sends_mail=settings.mail.server is not None,
            window=_duration(settings.reports.window),
            behind_nginx=self._is_behind_nginx,
            **values,
        )
        return _page(text)


def _mail_page(content: bytes) -> Response:
    body = email.message_from_bytes(content, policy=default).get_body(("html",))
    return _page("" if body is None else body.get_content(), MAIL_POLICY)


def _page(text: str, policy: str = POLICY) -> Response:
    headers = {"Cache-Control": "no-store"}
    return allow_inline_style(Response(text, headers=headers, mimetype="text/html"), policy)


def _duration(seconds: float) -> str:
    """Return a duration such as ``1 minute`` or ``90 seconds``."""
    minutes, rest = divmod(int(seconds), 60)
    return counted(int(seconds), "second") if rest else counted(minutes, "minute")


def _wants_page() -> bool:
    """Return whether a browser sent the form: its Accept header names HTML."""
    accept = request.headers.get("Accept", "")
    return "text/html" in accept and not prefers_json(accept)


def _is_safe_host(host: str) -> bool:
    """Return whether ``host`` is a name of this machine that no stranger controls.

    The owner of any other name could make it point at this machine after a browser has loaded a
    page from there (DNS rebinding). That page could then run drills.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    config = current_app.config
    trusted = [config.get("SERVER_NAME") or "", *(config.get("TRUSTED_HOSTS") or ())]
    names = [found for known in trusted if (found := urlsplit(f"//{known}").hostname)]
    return (
        is_loopback(name)
        or name.endswith(".localhost")
        or name in names
        or any(f".{name}".endswith(known) for known in names if known.startswith("."))
    )


def _is_own(origin: str) -> bool:
    # "null", an opaque origin, has no host and so is never ours (RFC 6454).
    try:
        return bool(origin) and urlsplit(origin).netloc == request.host
    except ValueError:
        return False
