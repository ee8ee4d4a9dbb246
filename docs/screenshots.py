"""Retakes the README's pictures from the running stack: `make screenshots`."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
import urllib.request
from email import message_from_string
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PICTURES = Path(__file__).parent / "pictures"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #14181d; color: #e4e7eb; }}
pre {{ margin: 0; padding: 1.25rem 1.5rem; font: 14px/1.5 "DejaVu Sans Mono", monospace;
      white-space: pre-wrap; overflow-wrap: anywhere; }}
b {{ color: #7cc4d8; }}
</style><pre>{text}</pre>"""


def main() -> int:
    """Take every picture of one error: its page, its mail, its lines, and the drill."""
    site, mailhog = address("nginx", 8080), address("mailguard", 8025)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        request_id = error_page(browser, site)
        mail(browser, mailhog, request_id)
        phone(browser, mailhog, request_id)
        terminal(browser, "log", "make", "logs", f"REQUEST={request_id}")
        terminal(browser, "drill", "make", "drill")
        browser.close()
    print(f"The pictures in {PICTURES} show request {request_id}.")
    return 0


def address(service: str, port: int) -> str:
    """Return the URL of a service's port on this machine."""
    command = [sys.executable, "docker/verbs/addresses.py", service, str(port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() or sys.exit(1)


def error_page(browser: Browser, site: str) -> str:
    """Raise an error as a visitor would, take both pages, and return the request id."""
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    page.goto(f"{site}/drill")
    page.screenshot(path=PICTURES / "drill-page.png")
    page.get_by_role("button", name="Raise it").click()
    page.screenshot(path=PICTURES / "page.png")
    found = page.locator(".request-id").inner_text()
    page.close()
    return found


def mail(browser: Browser, mailhog: str, request_id: str) -> None:
    """Open the mail in MailHog's UI, as text and as HTML, light and dark."""
    for name, tab, scheme in (
        ("mail", "Plain text", "light"),
        ("mail-html", "HTML", "light"),
        ("mail-html-dark", "HTML", "dark"),
    ):
        page = browser.new_page(viewport={"width": 1100, "height": 1100}, color_scheme=scheme)  # type: ignore[arg-type]
        open_mail(page, mailhog, request_id)
        page.get_by_role("link", name=tab, exact=True).click()
        page.wait_for_timeout(300)  # the tab's frame has no event to wait for
        page.screenshot(path=PICTURES / f"{name}.png")
        page.close()


def open_mail(page: Page, mailhog: str, request_id: str) -> None:
    """Find the mail by its request id, as an administrator would."""
    page.goto(mailhog)
    page.get_by_placeholder("Search").fill(request_id)
    page.keyboard.press("Enter")
    page.locator(".msglist-message").first.click()
    page.get_by_role("link", name="Plain text", exact=True).wait_for()


def phone(browser: Browser, mailhog: str, request_id: str) -> None:
    """Show the HTML part alone, as a mail program on a phone would."""
    address = f"{mailhog}/api/v2/search?kind=containing&limit=1&query={request_id}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        source = json.load(answer)["items"][0]["Raw"]["Data"]
    message = message_from_string(source, policy=default)
    body = message.get_body(("html",)) if isinstance(message, EmailMessage) else None
    if body is None:
        sys.exit("The mail has no HTML part.")
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 390, "height": 760}, color_scheme=scheme)
        page.set_content(body.get_content())
        page.screenshot(path=PICTURES / f"mail-phone-{scheme}.png")
        page.close()


def terminal(browser: Browser, name: str, *command: str) -> None:
    """Run a command and draw what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text = f"<b>$ {html.escape(' '.join(command))}</b>\n{html.escape(done.stdout)}"
    page = browser.new_page(viewport={"width": 1100, "height": 100})
    page.set_content(TERMINAL.format(text=text))
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
