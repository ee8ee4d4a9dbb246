"""Checks whether the site answers: through nginx as a visitor would, then the app itself."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from ..settings import WatchSettings
from .fetching import Response, addresses_of, fetch, reason_of

PATH: Final = "/health/live"  # requested if WATCH_URL has no path of its own
TIMEOUT: Final = 6.0  # seconds for the site's answer; a later one counts as none
HTTPS: Final = 443
NETWORK: Final = ".inner"  # web.inner is the service web in the network inner
DIAGNOSIS_TIMEOUT: Final = 2.0  # seconds for each request that only finds the cause

Fetch = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """The result of one check; ``time`` is in seconds since the epoch.

    ``trouble`` says what is wrong, and is empty if all is well. ``ready`` is what the app has
    answered about itself and its database, if it has.
    """

    time: float
    trouble: str = ""
    ready: dict[str, Any] | None = None


class Site:
    """The site that the settings name. ``fetch`` and ``resolve`` are replaced in tests."""

    def __init__(
        self,
        settings: WatchSettings,
        fetch: Fetch = fetch,
        resolve: Callable[[str], list[str]] = addresses_of,
    ) -> None:
        self.site_url = _with_path(settings.site_url) if settings.site_url else None
        self.ready_url = settings.ready_url
        self.https_port = settings.https_port
        self.tls: tuple[str, int, str] | None = None  # host, port and name, once it is known
        self._fetch = fetch
        self._resolve = resolve

    def check(self, now: float) -> SiteCheck:
        """Check the site at the time ``now``, in seconds since the epoch. Never raises."""
        trouble = self._ask_site() if self.site_url else ""
        if trouble or not self.ready_url:
            return SiteCheck(now, trouble)
        return self._ask_app(now, self.ready_url)

    def diagnose(self) -> str:
        """Return in a sentence why the site does not answer, or an empty string. Never raises."""
        if not self.ready_url:
            return ""
        host = service_of(self.ready_url)
        try:
            addresses = self._resolve(self.ready_url)
        except OSError:
            return f"No container of {host} is running: its name does not resolve."
        reasons = []
        for address in addresses:
            try:
                self._fetch(self.ready_url, DIAGNOSIS_TIMEOUT, address=address)
            except Exception as error:
                reasons.append(reason_of(error, DIAGNOSIS_TIMEOUT))
        if len(reasons) < len(addresses):
            return ""
        what = ", ".join(dict.fromkeys(reasons))
        is_hung = "no answer" in what
        meaning = "It is paused or hung." if is_hung else "It is starting, or it fails to start."
        return f"{host} does not answer either: {what}. {meaning}"

    def _ask_site(self) -> str:
        url = str(self.site_url)
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            self.tls = (host, parts.port or HTTPS, host)
        try:
            response = self._fetch(url, TIMEOUT, context=_any_certificate(url))
            if 300 <= response.status < 400 and response.location.startswith("https:"):
                response = self._ask_https(host, response.location)
        except Exception as error:
            return f"{host}: {reason_of(error, TIMEOUT)}"
        return response.line if response.status >= 500 else ""

    def _ask_https(self, host: str, url: str) -> Response:
        """Request the target of a redirect to HTTPS, at this host, under the name in ``url``."""
        self.tls = (host, self.https_port, urlsplit(url).hostname or host)
        context = _any_certificate(url)
        return self._fetch(url, TIMEOUT, address=host, port=self.https_port, context=context)

    def _ask_app(self, now: float, url: str) -> SiteCheck:
        """Check each address of the app until one can serve visitors."""
        host, trouble = service_of(url), ""
        try:
            addresses = self._resolve(url)
        except OSError:
            return SiteCheck(now)  # the site has answered without it
        for address in addresses:
            try:
                response = self._fetch(url, TIMEOUT, address=address)
            except Exception as error:
                # A container that refuses is being replaced: the site has answered without it.
                if not self.site_url or isinstance(error, TimeoutError):
                    trouble = trouble or f"{host}: {reason_of(error, TIMEOUT)}"
                continue
            ready = _as_object(response.body)
            if response.status < 500:
                return SiteCheck(now, "", ready)
            database = ready.get("database")
            trouble = f"{response.line} from {host}" + (
                f", the database is unavailable ({database})" if database else ""
            )
        return SiteCheck(now, trouble)


def service_of(url: str) -> str:
    """Return the service that a URL's host names, without the stack's network."""
    return (urlsplit(url).hostname or "").removesuffix(NETWORK)


def _with_path(url: str) -> str:
    return url.rstrip("/") + PATH if urlsplit(url).path in ("", "/") else url


def _any_certificate(url: str) -> ssl.SSLContext | None:
    """Return a context that trusts every certificate: certificates are checked separately."""
    if not url.startswith("https:"):
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _as_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
