"""Fixtures: Chromium, and a recorder of console messages and requested hosts."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.compose import Stack
from tests.support.visitor import PASSWORD, Visitor

SCREENSHOTS = Path(__file__).parent / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=60_000)  # milliseconds
WIDTHS = {"phone": 390, "wide": 1280}


@pytest.fixture(scope="session")
def site_url(running_stack: Stack) -> str:
    if not running_stack.is_healthy():
        running_stack.up("--no-build")
    return running_stack.url


@pytest.fixture(scope="session")
def mailhog_url(running_stack: Stack) -> str:
    return running_stack.mailhog


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class PageRecorder:
    """Console messages of a page, and the hosts that it sent requests to."""

    console: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def attach(self, page: Page) -> None:
        page.on("console", lambda message: self._console(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _console(self, text: str) -> None:
        # Chromium logs this for every error page.
        if not text.startswith("Failed to load resource: the server responded with a status of"):
            self.console.append(text)


@pytest.fixture
def recorder() -> PageRecorder:
    return PageRecorder()


@pytest.fixture
def new_context(chromium: Browser) -> Iterator[object]:
    """Return a function that creates a browser context, which is closed after the test."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        # Without transitions: axe and the screenshots need the final colours.
        context = chromium.new_context(reduced_motion="reduce", **options)  # type: ignore[arg-type]
        context.set_default_timeout(60_000)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


def new_name() -> str:
    return f"v{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def name(site_url: str) -> str:
    """The name of a registered user."""
    username = new_name()
    Visitor(site_url).register(username)
    return username


def log_in(page: Page, username: str) -> None:
    page.goto("/login")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def keep(page: Page, name: str) -> None:
    """Save a screenshot of the whole page."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
