"""A visitor over HTTP that keeps cookies, fills in forms and follows redirects."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from urllib.parse import urlencode

PASSWORD = "correct horse battery staple"
TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


@dataclass
class Page:
    status: int
    url: str
    text: str


class Visitor:
    def __init__(self, site: str) -> None:
        self.site = site
        self.cookies = CookieJar()
        kept = urllib.request.HTTPCookieProcessor(self.cookies)
        # Over HTTPS the certificate is for the site's name, not for 127.0.0.1.
        https = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        self.opener = urllib.request.build_opener(kept, https)
        # As browsers do. Over HTTPS, Flask-WTF refuses forms without it.
        self.opener.addheaders = [("Referer", f"{site}/")]

    @property
    def cookie(self) -> str:
        """The Cookie header that a browser would send."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)

    def open(self, path: str, **fields: str) -> Page:
        body = urlencode(fields).encode() if fields else None
        try:
            response = self.opener.open(self.site + path, body, timeout=60)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Page(response.status, response.url, response.read().decode())

    def token(self, path: str) -> str:
        # The page's own form comes after the logout form in the navigation.
        return TOKEN.findall(self.open(path).text)[-1]

    def send(self, path: str, **fields: str) -> Page:
        return self.open(path, csrf_token=self.token(path), **fields)

    def register(self, username: str, email: str = "") -> Page:
        return self.send("/register", **registration(username, email))

    def log_in(self, username: str, **fields: str) -> Page:
        return self.send("/login", username=username, password=PASSWORD, **fields)


def registration(username: str, email: str = "") -> dict[str, str]:
    return {
        "username": username,
        "email": email or f"{username}@example.com",
        "password": PASSWORD,
        "password2": PASSWORD,
    }
