"""Every page on a phone and wide, light and dark: accessible, small, quiet, from one host."""

from __future__ import annotations

import re
from itertools import product
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import WIDTHS, keep, log_in, new_name
from tests.support.visitor import PASSWORD, Visitor

MAX_SIZE = 30_000  # bytes of a page with its assets, uncompressed


def explore(page: Page, name: str) -> None:
    page.goto("/explore")


def explore_older(page: Page, name: str) -> None:
    page.goto("/explore?before=1")


def register(page: Page, name: str) -> None:
    page.goto("/register")


def register_errors(page: Page, name: str) -> None:
    page.goto("/register")
    page.get_by_label("Username").fill(name)
    page.get_by_role("button", name="Register").click()


def welcome(page: Page, name: str) -> None:
    page.goto("/")


def login(page: Page, name: str) -> None:
    page.goto("/edit_profile")


def login_errors(page: Page, name: str) -> None:
    page.goto("/login")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()


def home(page: Page, name: str) -> None:
    log_in(page, name)
    page.get_by_label("Say something").fill("Is anybody here?")
    page.get_by_role("button", name="Post").click()


def home_errors(page: Page, name: str) -> None:
    log_in(page, name)
    page.get_by_role("button", name="Post").click()


def expired(page: Page, name: str) -> None:
    log_in(page, name)
    page.locator("[name=csrf_token]").last.evaluate("field => field.value = 'forged'")
    page.get_by_label("Say something").fill("This must not be lost.")
    page.get_by_role("button", name="Post").click()


def profile(page: Page, name: str) -> None:
    log_in(page, name)
    page.goto(f"/user/{name}")


def edit_profile(page: Page, name: str) -> None:
    log_in(page, name)
    page.goto("/edit_profile")
    page.get_by_label("About me").fill("I write tests that can fail.")
    page.get_by_role("button", name="Save").click()


def change_password(page: Page, name: str) -> None:
    log_in(page, name)
    page.goto("/change_password")


def change_password_errors(page: Page, name: str) -> None:
    change_password(page, name)
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name="Change password").click()


def too_many_logins(page: Page, name: str) -> None:
    stranger = new_name()
    for _ in range(6):
        page.goto("/login")
        page.get_by_label("Username").fill(stranger)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()


def drill(page: Page, name: str) -> None:
    page.goto("/drill")


def not_found(page: Page, name: str) -> None:
    page.goto("/nowhere")


def error(page: Page, name: str) -> None:
    page.goto("/drill")
    page.get_by_role("button", name="Raise it").click()


def flood(page: Page, name: str) -> None:
    page.goto("/drill")
    page.get_by_label("Number of errors").fill("10")
    page.get_by_role("button", name="Raise them").click()


def no_mail(page: Page, name: str) -> None:
    page.goto(f"/drill/mail/{'0' * 32}?reloads=60")


def error_pages(page: Page, name: str) -> None:
    page.goto("/drill/pages")


def unavailable(page: Page, name: str) -> None:
    page.goto("/drill/pages/503")


def nginx_bad_gateway(page: Page, name: str) -> None:
    page.goto("/drill/pages/nginx/502")


def nginx_too_large(page: Page, name: str) -> None:
    page.goto("/drill/pages/nginx/431")


PAGES = [
    welcome,
    explore,
    explore_older,
    register,
    register_errors,
    login,
    login_errors,
    home,
    home_errors,
    expired,
    profile,
    edit_profile,
    change_password,
    change_password_errors,
    too_many_logins,
    drill,
    not_found,
    error,
    flood,
    no_mail,
    error_pages,
    unavailable,
    nginx_bad_gateway,
    nginx_too_large,
]


@pytest.mark.parametrize("show", PAGES)
def test_a_page_is_accessible_and_logs_nothing(new_context, site_url, name, recorder, show):
    page = new_context(base_url=site_url).new_page()
    recorder.attach(page)
    show(page, name)
    for width, scheme in product(WIDTHS, ("light", "dark")):
        page.set_viewport_size({"width": WIDTHS[width], "height": 844})
        page.emulate_media(color_scheme=scheme)
        keep(page, f"{show.__name__}-{width}-{scheme}")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{width}, {scheme}: {found.generate_report()}"
    assert recorder.console == []
    assert recorder.hosts == {urlsplit(site_url).netloc}


@pytest.mark.parametrize("show", PAGES)
def test_a_page_fits_320_pixels_and_30_kb(new_context, site_url, name, show):
    viewport = {"width": 320, "height": 600}
    page = new_context(base_url=site_url, viewport=viewport).new_page()
    show(page, name)
    page.wait_for_load_state()  # a click waits for the new page, but not for its style sheet
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    parts = page.locator("link[href], [src]").evaluate_all("all => all.map(e => e.href || e.src)")
    assert len(parts) in (0, 2)  # flask_mayday's own pages have no assets
    sizes = [len(page.request.get(part).body()) for part in parts]
    assert len(page.content().encode()) + sum(sizes) < MAX_SIZE


VITALS = """() => new Promise(resolve => {
  let shift = 0;
  new PerformanceObserver(list => list.getEntries().forEach(entry => { shift += entry.value; }))
    .observe({type: "layout-shift", buffered: true});
  new PerformanceObserver(list => list.getEntriesByName("first-contentful-paint").forEach(
    entry => setTimeout(() => resolve([entry.startTime, shift]), 200)
  )).observe({type: "paint", buffered: true});
})"""


@pytest.mark.parametrize("show", PAGES)
def test_a_page_has_no_layout_shift(new_context, site_url, name, show, record_property):
    page = new_context(base_url=site_url).new_page()
    show(page, name)
    paint, shift = page.evaluate(VITALS)
    record_property("first contentful paint", f"{paint:.0f} ms")
    record_property("layout shift", f"{shift:.3f}")
    record_property("bytes", len(page.content().encode()))
    assert shift < 0.01


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_of_nginx_is_readable_without_any_asset(new_context, site_url, width, scheme):
    viewport = {"width": width, "height": 700}
    context = new_context(base_url=site_url, viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    page.route("**/static/**", lambda route: route.fulfill(status=404))
    page.goto("/drill/pages/nginx/502")
    keep(page, f"without-assets-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    text = page.locator("main p").nth(1).bounding_box()  # after the status
    assert text["x"] >= 16
    assert text["width"] <= 640
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    _assert_a_click_selects_the_id(page)


@pytest.mark.parametrize("show", [error, nginx_bad_gateway])
def test_a_click_selects_the_whole_request_id(new_context, site_url, name, show):
    page = new_context(base_url=site_url).new_page()
    show(page, name)
    _assert_a_click_selects_the_id(page)


def _assert_a_click_selects_the_id(page: Page) -> None:
    identifier = page.locator(".request-id")
    identifier.click()
    assert re.fullmatch("[0-9a-f]{32}", identifier.inner_text())
    assert page.evaluate("getSelection().toString().trim()") == identifier.inner_text()


def test_the_longest_name_and_post_fit_320_pixels(new_context, site_url):
    name = (new_name() + "w" * 64)[:64]
    visitor = Visitor(site_url)
    visitor.register(name, f"{new_name()}@example.com")
    visitor.log_in(name)
    visitor.send("/", post="W" * 140)
    page = new_context(base_url=site_url, viewport={"width": 320, "height": 600}).new_page()
    log_in(page, name)
    keep(page, "longest")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_keyboard_reaches_the_content_and_an_error_gets_the_focus(new_context, site_url, name):
    page = new_context(base_url=site_url).new_page()
    page.goto("/register")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("link", name="Please use a different username.").click()
    expect(page.get_by_label("Username")).to_be_focused()
