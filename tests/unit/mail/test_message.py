"""The mails: safe in any client, complete through any server, no header from outside."""

from __future__ import annotations

import html
import logging
import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from flask_mayday.context.record_fields import REQUESTS
from flask_mayday.mail.content import REQUEST_IDS, Digest, HeldErrors
from flask_mayday.mail.draft import draft_notice, draft_summary
from flask_mayday.mail.message import (
    Envelope,
    render,
    render_report,
    render_test,
)
from flask_mayday.report.report import Report
from flask_mayday.report.traceback_data import Frame, RaisedException
from flask_mayday.settings import AppSettings, read_settings
from tests.support.reports import build_report

APP = AppSettings("Shop", "production", "1.4.2", (), "grep {request_id} /logs/shop.log*")
ENVELOPE = Envelope(
    "no-reply@microblog.example",
    ("admin@microblog.example", "second@microblog.example"),
    "<mail-2@microblog.example>",
    "<mail-1@microblog.example>",
    1_767_225_600.0,
    APP,
)
OWN = Frame(
    "app/main/routes.py",
    40,
    "user",
    True,
    first=39,
    source=("user = accounts.by_name(username)", 'raise ValueError("boom")'),
)
RAISED = RaisedException(
    "ValueError: boom", (*[Frame("flask/app.py", n, "dispatch", False) for n in range(4)], OWN)
)


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
            "where": "at GET /user/<username>",
            "place": "app/main/routes.py:40 in user",
            "request_id": "f" * 32,
            "request": {
                "method": "GET",
                "path": "/user/susan",
                "route": "/user/<username>",
                "url": "http://blog.example/user/susan",
                "query": {"page": "2"},
                "client": "192.0.2.1",
                "headers": {"Host": "blog.example"},
            },
            "traceback": "Traceback (most recent call last):\nValueError: boom\n",
            "earlier": ["12:00:00.123 INFO: looked up [app.main]"],
            "host": "web-1",
            "process": 7,
            "python": "3.13.1",
            "app": "Shop",
            "environment": "production",
            "release": "1.4.2",
            "user": "17",
            "exceptions": (RAISED,),
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
    assert found["Content-Transfer-Encoding"] in ("7bit", "quoted-printable", "base64")
    assert found.get_content_charset() == "utf-8"
    return str(found.get_content()).replace("\r\n", "\n")


# Headers


def test_the_headers_are_those_of_the_contract() -> None:
    message = mail()
    assert message["From"] == "Shop <no-reply@microblog.example>"
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


def test_a_digest_has_the_exact_count_and_the_request_ids() -> None:
    digest = Digest(999, 1_767_225_600.0, 1_767_225_660.0, ["a" * 32, "b" * 32])
    message = parsed(render_report(report(), ENVELOPE, digest))
    assert message["X-Error-Count"] == "999"
    text = part(message, "plain")
    assert "999 since the last mail" in text
    assert "2026-01-01 00:01:00" in text
    assert "a" * 32 in text
    assert "b" * 32 in text
    assert "Request ids\n" in text
    assert "The first 2 request ids" not in text


def test_a_digest_says_where_it_has_not_all_request_ids() -> None:
    digest = Digest(999, 1_767_225_600.0, 1_767_225_660.0, ["a" * 32] * REQUEST_IDS)
    text = part(parsed(render_report(report(), ENVELOPE, digest)), "plain")
    assert "The first 20 request ids\n" in text


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


def test_both_parts_have_every_field_of_the_report() -> None:
    message = mail()
    for kind in ("plain", "html"):
        text = html.unescape(part(message, kind))
        for words in (
            "ValueError: boom",
            "at GET /user/<username>",
            "f" * 32,
            "0123456789abcdef",
            "Traceback (most recent call last):",
            "/user/susan",
            "app/main/routes.py:40 in user",
            "12:00:00.123 INFO: looked up [app.main]",
            "1.4.2",
            "production",
            "192.0.2.1",
            "blog.example",
            "web-1",
            "2026-01-01 00:00:00",
        ):
            assert words in text


def test_the_first_two_lines_name_the_error_and_its_place() -> None:
    text = part(mail(), "plain")
    assert text.split("\n")[:2] == [
        "ValueError: boom",
        "at GET /user/<username>, app/main/routes.py:40 in user",
    ]


def test_the_most_useful_sections_come_first() -> None:
    for kind in ("plain", "html"):
        text = part(mail(), kind).rpartition("</style>")[2]
        parts = ["grep " + "f" * 32, "in user", "looked up", "Headers", "web-1"]
        found = [text.rindex(words) for words in parts]
        assert found == sorted(found)


def test_the_apps_own_frames_stand_out() -> None:
    message = mail()
    text, page = part(message, "plain"), part(message, "html")
    assert '\n> File "app/main/routes.py", line 40, in user\n' in text
    assert "  … 4 frames in flask …\n" in text
    block = page.partition('<div class="own">')[2].partition("</div>")[0]
    assert "app/main/routes.py" in block
    assert "flask" not in block
    assert re.search(r'class="hit">.*raise ValueError', block)


def test_both_parts_repeat_nothing() -> None:
    for kind in ("plain", "html"):
        text = part(mail(), kind).rpartition("</style>")[2]
        for words in ("/user/susan", "0123456789abcdef", "web-1", "blog.example/", "192.0.2.1"):
            assert text.count(words) == 1, words
        assert text.count("ValueError: boom") == 2  # the headline, and the end of the traceback


def test_a_group_of_exceptions_is_indented_in_both_parts() -> None:
    exceptions = (
        RaisedException("KeyError: 'a'", link="cause"),
        RaisedException("ExceptionGroup: two", notes=("a note",), members_left_out=3),
        RaisedException("ValueError: one", (OWN,), depth=1, number=1, of=5),
        RaisedException("OSError: other", depth=1, number=2, of=5),
    )
    message = mail(exceptions=exceptions)
    for kind in ("plain", "html"):
        text = html.unescape(part(message, kind))
        words = ["KeyError: 'a'", "the direct cause", "ExceptionGroup: two", "a note", "3 more"]
        words += ["1 of 5:", "ValueError: one", "2 of 5:", "OSError: other"]
        found = [text.rindex(word) for word in words]
        assert found == sorted(found)
    assert "\n      1 of 5:\n" not in part(message, "plain")
    assert "\n  1 of 5:\n    Traceback" in part(message, "plain")


def test_a_report_of_an_earlier_version_is_mailed_with_its_text() -> None:
    old = mail(exceptions=(), traceback="Traceback (most recent call last):\nValueError: boom\n")
    assert "  Traceback (most recent call last):\n  ValueError: boom\n" in part(old, "plain")


def test_requests_interrupted_by_a_worker_death_are_listed() -> None:
    requests = tuple(
        {"request_id": letter * 32, "method": "GET", "path": f"/{letter}", "state": state}
        for letter, state in (("a", "interrupted"), ("b", "responding"), ("c", "reported"))
    )
    message = mail(requests=requests, exceptions=(), stack="Thread 1", request=None)
    text = part(message, "plain")
    assert f"GET /a: not answered, request {'a' * 32}" in text
    assert f"GET /b: response was being sent, request {'b' * 32}" in text
    assert f"GET /c: already reported, request {'c' * 32}" in text
    assert "Stack\n-----\n  Thread 1\n" in text


def test_requests_that_cannot_be_read_are_mentioned() -> None:
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, "killed", (), None)
    setattr(record, REQUESTS, [None])
    message = parsed(render_report(build_report(record), ENVELOPE))
    assert "Requests: (not available: AttributeError)\n" in part(message, "plain")


def test_values_that_the_app_passed_along_are_shown() -> None:
    assert "Context\n-------\norder: 7\n" in part(mail(context={"order": "7"}), "plain")


def test_the_command_to_find_the_log_lines_comes_from_the_settings() -> None:
    for kind in ("plain", "html"):
        assert f"grep {'f' * 32} /logs/shop.log*" in part(mail(), kind)


def test_without_a_setting_the_command_searches_the_log(tmp_path: Path) -> None:
    read = read_settings({"LOG_DIR": str(tmp_path)}, import_name="shop")
    assert read.app.log_hint == f"grep {{request_id}} {tmp_path}/shop.log*"
    read = read_settings({"MAYDAY_LOG_HINT": "make logs REQUEST={request_id}"})
    text = part(parsed(render_report(report(app=""), replace(ENVELOPE, app=read.app))), "plain")
    assert f"Log lines:  make logs REQUEST={'f' * 32}\n" in text


def test_the_mail_names_the_reports_app_and_environment() -> None:
    message = mail(app="Other", environment="staging", release="")
    assert message["From"].addresses[0].display_name == "Other staging"
    assert message["Subject"].startswith("[Other staging] ")
    text = part(message, "plain")
    assert "Environment: staging\n" in text
    assert "Release:     unknown\n" in text
    assert mail(app="")["Subject"].startswith("[Shop] ")


def test_the_html_supports_dark_mode_and_loads_nothing() -> None:
    page = part(mail(), "html")
    assert "@media (prefers-color-scheme:dark)" in page
    assert '<meta name="color-scheme" content="light dark">' in page
    assert not re.search(r"<(script|img|link|iframe|object)|url\(|@import|\bon\w+=|href|src=", page)


def test_a_long_message_is_cut_in_the_headline_and_complete_below() -> None:
    text = part(mail(message="one long line " * 50, exceptions=()), "plain")
    assert len(text.split("\n")[0]) < 330
    assert "one long line " * 50 in text


def test_visitor_input_cannot_forge_a_line_of_the_mail() -> None:
    headers = {"X-A": "x\nRequest id: 0"}
    text = part(mail(request={"method": "GET", "path": "/", "headers": headers}), "plain")
    assert "\nRequest id: 0" not in text


def test_a_message_cannot_forge_a_section_of_the_mail() -> None:
    forged = "Origin\n------\nApp: another"
    text = part(mail(message=f"boom\n\n{forged}", exceptions=()), "plain")
    assert "\n  Origin\n  ------\n  App: another\n" in text
    assert forged not in text


def test_bidirectional_controls_are_shown_as_escapes() -> None:
    for kind in ("plain", "html"):
        assert r"a\u202etxt.exe" in part(mail(message="a\u202etxt.exe"), kind)


def test_request_fields_read_by_the_app_are_shown() -> None:
    request = {
        "method": "POST",
        "path": "/",
        "form": {"about": "me", "tags": ["a", "b"]},
        "json": [1, 2],
        "files": None,
        "user": "(not available: RuntimeError)",
    }
    text = part(mail(request=request, user=""), "plain")
    for words in ("about:", 'tags:  ["a", "b"]', "JSON\n----\n  [1, 2]", "(not available"):
        assert words in text
    assert "Files" not in text


def test_other_languages_arrive_unchanged() -> None:
    message = mail(message="Zoë 漢字 🙂")
    assert "Zoë 漢字 🙂" in part(message, "plain")
    assert "Zoë 漢字 🙂" in part(message, "html")


def test_a_script_is_escaped_in_html() -> None:
    page = part(mail(message="<script>alert(1)</script>", where="at GET /<img>"), "html")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


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
    raised = RaisedException(text, (Frame(text, 1, text, True, 1, (text,)),), (text,))
    for content in (
        render_report(report(message=text, traceback=text, exceptions=()), ENVELOPE),
        render_report(report(exceptions=(raised,), stack=text), ENVELOPE),
        render_report(report(request={"method": text, "headers": {text: text}}), ENVELOPE),
        render_report(report(host=text, python=text, logger=text, fingerprint=text), ENVELOPE),
    ):
        assert content.isascii()
        assert max(map(len, re.split(rb"\r\n|\n|\r", content))) <= 998
        assert b"\r" not in content.replace(b"\r\n", b"")
        assert b"\n" not in content.replace(b"\r\n", b"")
        assert b"\x00" not in content
        message = parsed(content)
        for kind in ("plain", "html"):
            part(message, kind).encode("utf-8")


def test_a_long_line_arrives_in_one_piece() -> None:
    text = part(mail(message="漢" * 2000, exceptions=()), "plain")
    assert text.count("漢" * 2000) == 1
    page = part(mail(message="&" * 2000, request=None, exceptions=()), "html")
    assert page.count("&amp;" * 2000) == 1


def test_lone_surrogates_and_control_characters_are_shown_as_escapes() -> None:
    text = part(mail(message="Caf\udce9 \x00 \x1b[31m"), "plain")
    assert r"Caf\udce9 \x00 \x1b[31m" in text


def test_a_line_with_a_single_dot_is_preserved() -> None:
    assert "\n  .\n" in part(mail(exceptions=(), traceback="before\n.\nafter"), "plain")


def test_an_unexpected_report_of_a_later_version_is_still_mailed() -> None:
    strange = Report.from_json(
        '{"uuid": "u", "time": 1e30, "request": {"headers": [1], "query": "?"}, "message": "boom"}'
    )
    assert "boom" in part(parsed(render_report(strange, ENVELOPE)), "plain")


# Summaries


def held(count: int, **fields: object) -> HeldErrors:
    return HeldErrors(count, 1_767_225_600.0, report(**fields))


def test_a_summary_counts_every_group() -> None:
    entries = [
        held(500, message="one"),
        held(7, type="KeyError", message="<b>two</b>", where="in app.jobs"),
    ]
    message = parsed(render(draft_summary(entries, APP, 60), ENVELOPE))
    assert message["X-Error-Count"] == "507"
    assert message["Subject"] == "[Shop] 507 more errors of 2 kinds"
    text = part(message, "plain")
    assert "500 x ValueError: one at GET /user/<username>" in text
    assert "7 x KeyError: <b>two</b> in app.jobs" in text
    assert "REPORT_MAILS_PER_HOUR=60" in text
    assert "<b>" not in part(message, "html")


def test_a_summary_of_one_error_has_no_plural() -> None:
    message = parsed(render(draft_summary([held(1)], APP, 60), ENVELOPE))
    assert message["Subject"] == "[Shop] 1 more error of 1 kind"
    assert "1 more error of 1 kind was not mailed individually" in part(message, "plain")


def test_a_summary_of_very_many_groups_stays_readable() -> None:
    entries = [held(number) for number in range(1, 5001)]
    content = render(draft_summary(entries, APP, 60), ENVELOPE)
    message = parsed(content)
    assert message["X-Error-Count"] == str(sum(range(1, 5001)))
    assert len(content) < 100_000
    text = part(message, "plain")
    assert "5000 x ValueError" in text
    assert "of 4900 more kinds" in text
    assert f"{sum(range(1, 4901))} errors" in text


# Notices and the test mail


def test_the_test_mail_is_built_like_a_report() -> None:
    content = render_test(ENVELOPE)
    message = parsed(content)
    assert message["Subject"] == "[Shop] Test mail: error reports are reaching you"
    assert message["From"] == "Shop <no-reply@microblog.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Nothing is wrong" in part(message, "plain")
    assert "second@microblog.example" in part(message, "html")
    assert content.isascii()
    body = message.get_body(("plain",))
    assert body is not None
    assert body["Content-Transfer-Encoding"] == "quoted-printable"  # a report's is, too


def test_a_notice_names_the_problem_and_its_place() -> None:
    rows, lines = [("Since", "12:00")], ["GET / 502"]
    draft = draft_notice(ENVELOPE.app, "The site does not answer", "at http://x/", rows, lines)
    content = render(draft, ENVELOPE)
    text = part(parsed(content), "plain")
    assert text == (
        "The site does not answer\nat http://x/\n\nSince: 12:00\n\n  GET / 502\n\n"
        "Origin\n------\nApp:         Shop\nEnvironment: production\nRelease:     1.4.2\n"
    )
    assert parsed(content)["Subject"] == "[Shop] The site does not answer"
