"""The names of the demo's cookies, and the reading of cookies that earlier versions have set.

Browsers send a host's cookies to all of its ports. Two apps on one host, such as two stacks on
127.0.0.1, overwrite each other's cookies unless the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_login import decode_cookie
from itsdangerous import BadSignature
from werkzeug.datastructures import ImmutableMultiDict

APP: Final = "microblog"
# The settings with the names of today, and the names that earlier versions used.
EARLIER: Final = {"SESSION_COOKIE_NAME": "session", "REMEMBER_COOKIE_NAME": "remember_token"}
RENAMED: Final = "microblog.renamed_cookies"  # in a request's environment


def cookie_names(stack: str) -> dict[str, str]:
    """Return the settings that name the cookies of the demo in ``stack``, a Compose project."""
    stack = re.sub(r"[^a-z0-9-]+", "_", stack.lower())
    prefix = APP if stack in ("", APP) else f"{APP}_{stack}"
    return {
        "SESSION_COOKIE_NAME": f"{prefix}_session",
        "REMEMBER_COOKIE_NAME": f"{prefix}_remember",
    }


def init_app(app: Flask) -> None:
    """Accept cookies under their earlier names, and answer with the names of today.

    Only cookies with the signature of ``app`` are taken: those names may be another app's.
    """
    app.session_interface = _SessionInterface()
    app.after_request(_rename)


class _SessionInterface(SecureCookieSessionInterface):
    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if renamed := dict(self._renamed(app, request)):
            request.environ[RENAMED] = renamed
            request.cookies = ImmutableMultiDict({**request.cookies, **renamed})
        session = super().open_session(app, request)
        if session is not None and app.config["SESSION_COOKIE_NAME"] in renamed:
            session.modified = True  # so that it is sent under its new name
        return session

    def _renamed(self, app: Flask, request: Request) -> Iterator[tuple[str, str]]:
        """Yield the name of today and the value of each cookie of ours with an earlier name."""
        for setting, earlier in EARLIER.items():
            name, value = app.config[setting], request.cookies.get(earlier, "")
            if name in request.cookies or not value.isascii():
                continue
            if setting == "REMEMBER_COOKIE_NAME":
                is_ours = decode_cookie(value, key=app.secret_key) is not None
            else:
                is_ours = self._has_our_signature(app, value)
            if is_ours:
                yield name, value

    def _has_our_signature(self, app: Flask, value: str) -> bool:
        serializer = self.get_signing_serializer(app)
        try:
            return serializer is not None and bool(serializer.loads(value))
        except BadSignature:
            return False


def _rename(response: Response) -> Response:
    config = current_app.config
    renamed: dict[str, str] = request.environ.get(RENAMED, {})
    for setting, earlier in EARLIER.items():
        if config[setting] in renamed:
            response.delete_cookie(earlier)
    name = config["REMEMBER_COOKIE_NAME"]
    is_set = any(line.startswith(f"{name}=") for line in response.headers.getlist("Set-Cookie"))
    if name in renamed and not is_set:  # a logout has deleted it
        response.set_cookie(
            name,
            renamed[name],
            max_age=config["REMEMBER_COOKIE_DURATION"],
            secure=config.get("REMEMBER_COOKIE_SECURE", False),
            httponly=True,
            samesite=config["REMEMBER_COOKIE_SAMESITE"],
        )
    return response
