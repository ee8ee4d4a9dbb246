"""One visit without JavaScript: register, post, and raise an error whose mail is then read."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.browser.conftest import keep, log_in, new_name
from tests.support.visitor import PASSWORD


def test_a_visitor_registers_posts_and_raises_an_error_and_its_mail_can_be_read(
    new_context, site_url, mailhog_url, name, recorder
):
    page = new_context(base_url=site_url, java_script_enabled=False).new_page()
    recorder.attach(page)
    me, message = new_name(), new_name()

    # Registers and logs in.
    page.goto("/")
    page.get_by_role("main").get_by_role("link", name="Register").click()
    page.get_by_label("Username").fill(me)
    page.get_by_label("Email").fill(f"{me}@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Repeat password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("status")).to_have_text(
        "Congratulations, you are now a registered user!"
    )
    log_in(page, me)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Hi, {me}!")

    # Posts.
    page.get_by_label("Say something").fill(f"Hello from {me}")
    page.get_by_role("button", name="Post").click()
    expect(page.get_by_role("status")).to_have_text("Your post is now live!")
    expect(page.get_by_role("article").first).to_contain_text(f"Hello from {me}")
    keep(page, "story-1-posted")

    # Renames to a taken name: a form error, where the tutorial's app answers 500.
    page.get_by_role("link", name="Profile").click()
    page.get_by_role("link", name="Edit your profile").click()
    page.get_by_label("Username").fill(name.upper())
    page.get_by_label("About me").fill("I like names.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Please use a different username.")
    expect(page.get_by_label("Username")).to_have_value(name.upper())
    expect(page.get_by_label("About me")).to_have_value("I like names.")
    keep(page, "story-2-taken")

    # Gets a 404.
    missing = page.goto("/there/is/no/such/page")
    assert missing.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("File Not Found")
    page.get_by_role("link", name="Home page").click()

    # Raises an error.
    page.get_by_role("link", name="Try it: break something").click()
    page.get_by_label("Message").fill(message)
    with page.expect_response("**/drill/exception") as answer:
        page.get_by_role("button", name="Raise it").click()
    assert answer.value.status == 500
    expect(page.get_by_role("heading", level=1)).to_have_text("An unexpected error has occurred")
    request_id = page.locator(".request-id").inner_text()
    assert answer.value.headers["x-request-id"] == request_id
    expect(page.get_by_text(f"make logs REQUEST={request_id}")).to_be_visible()
    keep(page, "story-3-error")

    # Reads the mail on the site.
    page.get_by_role("link", name="Read the mail").click()
    expect(page.locator("body")).to_contain_text(message, timeout=20_000)
    expect(page.locator("body")).to_contain_text(request_id)
    keep(page, "story-4-mail")

    assert recorder.console == []
    assert recorder.hosts == {urlsplit(site_url).netloc}

    # An administrator reads it in MailHog.
    mail = new_context().new_page()
    mail.goto(mailhog_url)
    listed = mail.locator(".msglist-message", has_text=message)
    # MailHog's list does not update itself, and the mail may not have arrived yet.
    for _ in range(50):
        if listed.count():
            break
        mail.wait_for_timeout(200)
        mail.reload()
        mail.wait_for_load_state("networkidle")
    listed.first.click()
    mail.get_by_role("link", name=re.compile("Plain text")).click()
    expect(mail.locator("#preview-plain")).to_contain_text(request_id)
    keep(mail, "story-5-mailhog")
