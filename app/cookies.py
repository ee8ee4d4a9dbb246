"""The blog's cookies: their names, and the session that is kept in one of them.

Browsers send a host's cookies to all of its ports. Two apps on one host, such as two stacks on
127.0.0.1, overwrite each other's cookies unless the names differ.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Final, TypeVar

from flask import Flask, Request, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug import Response

APP: Final = "microblog"
OLD_SESSION: Final = "session"  # the name in earlier versions, and in many other Flask apps

ResponseT = TypeVar("ResponseT", bound=Response)


def cookie_prefix(stack: str) -> str:
    """Return the prefix of all cookie names in ``stack``, the name of a Compose project."""
    stack = re.sub(r"[^a-z0-9-]+", "_", stack.lower())
    return APP if stack in ("", APP) else f"{APP}_{stack}"


def cookie_name(purpose: str) -> str:
    """Return the name of the cookie for ``purpose``, such as ``microblog_session``.

    Browsers accept a name with ``__Host-`` over HTTPS only, and not from another site of the same
    domain. https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie
    """
    prefix = "__Host-" if request.is_secure else ""
    return prefix + _plain_name(purpose)


def _plain_name(purpose: str) -> str:
    return f"{current_app.config['COOKIE_PREFIX']}_{purpose}"


def read_cookie(purpose: str) -> str | None:
    """Return the value of the cookie for ``purpose``, or ``None``.

    Over HTTPS, a cookie that was set before the site had HTTPS is read too.
    """
    cookies = request.cookies
    if not cookies:
        return None
    return cookies.get(cookie_name(purpose)) or cookies.get(_plain_name(purpose))


def send_cookie(response: ResponseT, purpose: str, value: str, seconds: int) -> ResponseT:
    """Set the cookie for ``purpose``, which expires after ``seconds``; return ``response``."""
    response.set_cookie(
        cookie_name(purpose),
        value,
        max_age=seconds,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


def delete_cookie(response: ResponseT, name: str) -> ResponseT:
    """Delete the cookie with exactly this name; return ``response``."""
    response.delete_cookie(name, secure=request.is_secure, httponly=True, samesite="Lax")
    return response


class SessionInterface(SecureCookieSessionInterface):
    """Flask's session, in a cookie with the blog's own name, and Secure if the request is."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], URLSafeTimedSerializer | None] | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return the serializer of the cookie, which Flask itself would make twice per request."""
        keys = (app.secret_key, *(app.config["SECRET_KEY_FALLBACKS"] or ()))
        kept = self._kept
        if kept is None or kept[0] != keys:
            kept = self._kept = keys, super().get_signing_serializer(app)
        return kept[1]

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name of the session's cookie."""
        del app
        return cookie_name("session")

    def get_cookie_secure(self, app: Flask) -> bool:
        """Return whether the cookie is for HTTPS only."""
        del app
        return request.is_secure

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return the session of a request, which is saved again if its cookie is outdated.

        That is one with an old name, or one that a key in ``SECRET_KEY_FALLBACKS`` has signed: the
        next rotation would drop that key.
        """
        found = super().open_session(app, request)
        cookies = request.cookies
        if not cookies or found is None:
            return found
        value = cookies.get(self.get_cookie_name(app))
        if found and value and app.config["SECRET_KEY_FALLBACKS"]:
            found.modified = self._is_signed_by_fallback(app, value)
        elif value is None:
            for value in (read_cookie("session"), cookies.get(OLD_SESSION)):
                if value and (old := self._read(app, value)):
                    found.update(old)
                    break
        return found

    def _is_signed_by_fallback(self, app: Flask, value: str) -> bool:
        signer = copy(self.get_signing_serializer(app))
        if signer is None:
            return False
        signer.secret_keys = signer.secret_keys[-1:]  # the current one
        return not signer.make_signer().validate(value)

    def _read(self, app: Flask, value: str) -> dict[str, object] | None:
        signer = self.get_signing_serializer(app)
        if signer is None:
            return None
        lifetime = int(app.permanent_session_lifetime.total_seconds())
        try:
            return dict(signer.loads(value, max_age=lifetime))
        except BadSignature:
            return None
