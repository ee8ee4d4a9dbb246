"""The mails: safe to read in any client, whole on any way, and never a header from outside."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from flask_mayday.mail.message import (
    Envelope,
    Held,
    Repeats,
    render_report,
    render_summary,
    report_subject,
)
from flask_mayday.report.report import Report

ENVELOPE = Envelope(
    "no-reply@microblog.example",
    ("admin@microblog.example", "second@microblog.example"),
    "<mail-2@microblog.example>",
    "<mail-1@microblog.example>",
    1_767_225_600.0,
)
SAFE = re.compile(r"[A-Za-z0-9 _.,:;/(){}\[\]'=-]{1,150}")


def report(**fields: object) -> Report:
    return Report(
        **{  # type: ignore[arg-type]
            "uuid": "0" * 32,
            "time": 1_767_225_600.0,
            "fingerprint": "0123456789abcdef",
            "level": "ERROR",
            "logger": "app",
            "type": "ValueError",
            "message": "boom",
            "where": "at GET /user/{username}",
            "place": "app/main/routes.py:40 in user",
            "request_id": "f" * 32,
            "request": {
                "method": "GET",
                "path": "/user/susan",
                "query": {"page": "2"},
                "client": "192.0.2.1",
                "headers": {"Host": "blog.example"},
            },
            "traceback": "Traceback (most recent call last):\nValueError: boom\n",
            "earlier": ["12:00:00.123 INFO: looked up [app.main]"],
            "host": "web-1",
            "process": 7,
            "python": "3.13.1",
            "version": "0.1.0",
            **fields,
        }
    )


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)  # type: ignore[return-value,arg-type]


def mail(**fields: object) -> EmailMessage:
    return parsed(render_report(report(**fields), ENVELOPE))


def part(message: EmailMessage, kind: str) -> str:
    found = message.get_body((kind,))
    assert found is not None
    assert found["Content-Transfer-Encoding"] == "8bit"
    assert found.get_content_charset() == "utf-8"
    return str(found.get_content()).replace("\r\n", "\n")


# Subject


def test_the_subject_says_what_and_where() -> None:
    assert report_subject(report()) == "[Microblog] ValueError: boom at GET /user/{username}"


def test_the_subject_of_a_digest_says_how_often() -> None:
    subject = report_subject(report(), Repeats(999, 0.0, 1.0, []))
    assert subject == "[Microblog] ValueError: boom (999 times) at GET /user/{username}"


def test_the_subject_outside_a_request_names_the_logger() -> None:
    assert report_subject(report(where="in gunicorn.error")).endswith(" in gunicorn.error")


def test_an_empty_message_leaves_only_the_type() -> None:
    assert report_subject(report(message="")) == "[Microblog] ValueError at GET /user/{username}"


@pytest.mark.parametrize(
    "message",
    [
        "<script>alert(1)</script>",
        "boom\r\nBcc: everybody@example.com",
        "boom\nsecond line",
        "\x1b[31mred\x00\x7f",
        "Zoë 漢字 🙂 \udce9 \u2028 \u202e",
        "%s %d `id` $(id) \"quoted\" 'quoted' \\",
        "x" * 100_000,
        " " * 1000 + "boom",
        "=?utf-8?q?encoded?=",
    ],
)
def test_the_subject_is_one_short_line_of_harmless_characters(message: str) -> None:
    for where in ("at GET /user/{username}", f"at POST /{message}"):
        for repeats in (None, Repeats(10**9, 0.0, 1.0, [])):
            assert SAFE.fullmatch(report_subject(report(message=message, where=where), repeats))
    assert report_subject(report(message=message)).endswith(" at GET /user/{username}")


def test_the_subject_is_not_folded() -> None:
    content = render_report(report(message="long words " * 30), ENVELOPE)
    (line,) = [line for line in content.split(b"\r\n") if line.startswith(b"Subject:")]
    assert line.endswith(b" at GET /user/{username}")


# Headers


def test_the_headers_are_those_of_the_contract() -> None:
    message = mail()
    assert message["From"] == "Microblog <no-reply@microblog.example>"
    assert message["To"] == "admin@microblog.example, second@microblog.example"
    assert message["Message-ID"] == "<mail-2@microblog.example>"
    assert message["References"] == "<mail-1@microblog.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Request-ID"] == "f" * 32
    assert message["X-Error-Fingerprint"] == "0123456789abcdef"
    assert message["X-Error-Count"] == "1"
    assert message["Date"] == "Thu, 01 Jan 2026 00:00:00 +0000"
    assert message.defects == []


def test_an_error_outside_a_request_has_no_header_for_one() -> None:
    assert "X-Request-ID" not in mail(request_id=None, request=None)


def test_a_digest_bears_the_exact_count_and_the_request_ids() -> None:
    repeats = Repeats(999, 1_767_225_600.0, 1_767_225_660.0, ["a" * 32, "b" * 32])
    message = parsed(render_report(report(), ENVELOPE, repeats))
    assert message["X-Error-Count"] == "999"
    text = part(message, "plain")
    assert "999 since the last mail" in text
    assert "2026-01-01 00:01:00" in text
    assert "a" * 32 in text
    assert "b" * 32 in text


@pytest.mark.parametrize("field", ["type", "message", "where"])
def test_no_field_of_a_report_can_add_a_header(field: str) -> None:
    attack = "boom\r\nBcc: everybody@example.com\r\n\r\nbody"
    plain = mail()
    assert mail(**{field: attack}).keys() == plain.keys()


def test_many_recipients_do_not_make_a_line_too_long() -> None:
    many = tuple(f"administrator-{number:03}@microblog.example" for number in range(100))
    content = render_report(report(), Envelope("a@b.example", many, "<1@b>", None, 0.0))
    assert max(map(len, content.split(b"\r\n"))) <= 998
    addresses = parsed(content)["To"].addresses
    assert tuple(address.addr_spec for address in addresses) == many


# Bodies


def test_both_parts_tell_the_whole_story() -> None:
    message = mail()
    for kind in ("plain", "html"):
        text = part(message, kind)
        for words in (
            "ValueError: boom",
            "at GET /user/{username}",
            "f" * 32,
            "0123456789abcdef",
            "Traceback (most recent call last):",
            "/user/susan",
            "app/main/routes.py:40 in user",
            "12:00:00.123 INFO: looked up [app.main]",
            "Microblog 0.1.0",
            "192.0.2.1",
            "blog.example",
            "web-1",
            "2026-01-01 00:00:00",
        ):
            assert words in text


TRACE = """Traceback (most recent call last):
  … 4 frames in flask …
> File "app/main/routes.py", line 40, in user
       39  user = accounts.by_name(username)
  >    40  raise ValueError("boom")
ValueError: boom"""


def test_the_first_two_lines_say_what_and_where() -> None:
    text = part(mail(), "plain")
    assert text.split("\n")[:2] == [
        "ValueError: boom",
        "at GET /user/{username}, app/main/routes.py:40 in user",
    ]


def test_the_order_is_that_in_which_it_is_needed() -> None:
    for kind in ("plain", "html"):
        text = part(mail(traceback=TRACE), kind).partition("<body>")[2] or part(
            mail(traceback=TRACE), kind
        )
        parts = ["make logs REQUEST=" + "f" * 32, "in user", "looked up", "blog.example", "web-1"]
        found = [text.rindex(words) for words in parts]
        assert found == sorted(found)


def test_the_apps_own_frames_stand_out() -> None:
    message = mail(traceback=TRACE)
    text, html = part(message, "plain"), part(message, "html")
    assert '\n> File "app/main/routes.py", line 40, in user\n' in text
    block = html.partition('<div class="own">')[2].partition("</div>")[0]
    assert "app/main/routes.py" in block
    assert "flask" not in block
    assert re.search(r'<pre class="hit">\n.*raise ValueError', block)


def test_the_html_is_fit_for_the_dark_and_needs_nothing_from_elsewhere() -> None:
    html = part(mail(traceback=TRACE), "html")
    assert "@media (prefers-color-scheme:dark)" in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert not re.search(r"<(script|img|link|iframe|object)|url\(|@import|\bon\w+=|href|src=", html)


def test_a_long_message_is_cut_in_the_headline_and_whole_below() -> None:
    text = part(mail(message="one long line " * 50, traceback=""), "plain")
    assert len(text.split("\n")[0]) < 330
    assert "one long line " * 50 in text


def test_what_a_visitor_sent_cannot_look_like_another_line_of_the_mail() -> None:
    headers = {"X-A": "x\nRequest id: 0"}
    text = part(mail(request={"method": "GET", "path": "/", "headers": headers}), "plain")
    assert "\nRequest id: 0" not in text


def test_fields_that_were_read_are_told() -> None:
    request = {
        "method": "POST",
        "path": "/",
        "form": {"about": "me", "tags": ["a", "b"]},
        "json": [1, 2],
        "files": None,
        "user": "could not be read (RuntimeError)",
    }
    text = part(mail(request=request), "plain")
    for words in ("about:", 'tags:  ["a", "b"]', "JSON\n----\n[1, 2]", "could not be read"):
        assert words in text
    assert "Files" not in text


def test_other_languages_arrive_as_they_were() -> None:
    message = mail(message="Zoë 漢字 🙂")
    assert "Zoë 漢字 🙂" in part(message, "plain")
    assert "Zoë 漢字 🙂" in part(message, "html")


def test_a_script_is_text_in_html() -> None:
    html = part(mail(message="<script>alert(1)</script>", where="at GET /<img>"), "html")
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5000,
        "漢" * 2000,
        "🙂" * 1000,
        "&" * 2000,
        "é" * 449 + "x" * 800,
        "\ud800" * 900,
        "\x00" * 900,
        "\r" * 2000,
        "a\u2028b" * 700,
        "\x85" * 700,
        "\x0b\x0c\x1c\x1d\x1e" * 300,
    ],
)
def test_no_line_is_longer_than_smtp_carries(text: str) -> None:
    for content in (
        render_report(report(message=text, traceback=text), ENVELOPE),
        render_report(report(request={"method": text, "headers": {text: text}}), ENVELOPE),
        render_report(report(host=text, python=text, logger=text), ENVELOPE),
    ):
        assert max(map(len, re.split(rb"\r\n|\n|\r", content))) <= 998
        assert b"\r" not in content.replace(b"\r\n", b"")
        assert b"\n" not in content.replace(b"\r\n", b"")
        assert b"\x00" not in content
        message = parsed(content)
        for kind in ("plain", "html"):
            part(message, kind).encode("utf-8")


def test_a_line_that_was_cut_loses_nothing() -> None:
    text = part(mail(message="漢" * 2000, traceback=""), "plain")
    assert text.count("漢") == 300 + 2000
    html = part(mail(message="&" * 2000, request=None), "html")
    assert html.count("&amp;") == 300 + 2000


def test_lone_surrogates_and_controls_are_shown_as_escapes() -> None:
    text = part(mail(message="Caf\udce9 \x00 \x1b[31m"), "plain")
    assert r"Caf\udce9 \x00 \x1b[31m" in text


def test_a_line_of_a_single_dot_survives() -> None:
    assert "\n.\n" in part(mail(traceback="before\n.\nafter"), "plain")


def test_a_report_that_a_later_version_wrote_strangely_is_mailed_all_the_same() -> None:
    strange = Report.from_json(
        '{"uuid": "u", "time": 1e30, "request": {"headers": [1], "query": "?"}, "message": "boom"}'
    )
    assert "boom" in part(parsed(render_report(strange, ENVELOPE)), "plain")


# Summaries


def held(count: int, **fields: object) -> Held:
    return Held(count, 1_767_225_600.0, report(**fields))


def test_a_summary_counts_every_kind() -> None:
    entries = [
        held(500, message="one"),
        held(7, type="KeyError", message="<b>two</b>", where="in app.jobs"),
    ]
    message = parsed(render_summary(entries, ENVELOPE, 60))
    assert message["X-Error-Count"] == "507"
    assert message["Subject"] == "[Microblog] 507 more errors of 2 kinds"
    text = part(message, "plain")
    assert "500 x ValueError: one at GET /user/{username}" in text
    assert "7 x KeyError: <b>two</b> in app.jobs" in text
    assert "REPORT_MAILS_PER_HOUR=60" in text
    assert "<b>" not in part(message, "html")


def test_a_summary_of_very_many_kinds_stays_readable() -> None:
    entries = [held(number) for number in range(1, 5001)]
    content = render_summary(entries, ENVELOPE, 60)
    message = parsed(content)
    assert message["X-Error-Count"] == str(sum(range(1, 5001)))
    assert len(content) < 100_000
    text = part(message, "plain")
    assert "5000 x ValueError" in text
    assert "4900 more kinds" in text
    assert f"{sum(range(1, 4901))} errors" in text
