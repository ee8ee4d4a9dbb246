"""The subject: error and place in one line, in any language, safe in any client."""

from __future__ import annotations

import unicodedata
from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest

from flask_mayday.mail.message import Envelope, render_report
from flask_mayday.mail.subject import report_subject
from flask_mayday.report.report import Report
from flask_mayday.settings import AppSettings
from tests.support.reports import a_report

ROUTE = "/user/<username>"
HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def report(message: str = "boom", **fields: object) -> Report:
    request = {"method": "GET", "path": "/user/susan", "route": ROUTE}
    known = {"type": "ValueError", "where": f"at GET {ROUTE}", "request": request, **fields}
    return a_report(message, **known)


def header_of(subject_report: Report, label: str = "Shop") -> tuple[list[bytes], str]:
    """Return the header's lines in a mail, and what a mail client makes of them."""
    app = AppSettings(label, "production", "", ())
    envelope = Envelope("a@b.example", ("c@d.example",), "<1@b.example>", None, 0.0, app)
    content = render_report(subject_report, envelope)
    head = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    start = next(number for number, line in enumerate(head) if line.startswith(b"Subject:"))
    end = start + 1
    while head[end].startswith(b" "):
        end += 1
    return head[start:end], str(message_from_bytes(content, policy=policy.default)["Subject"])


def test_the_subject_names_the_error_and_its_place() -> None:
    assert report_subject(report(), "Shop") == "[Shop] ValueError: boom at GET /user/<username>"


def test_the_subject_of_a_digest_has_the_count() -> None:
    subject = report_subject(report(), "Shop", 999)
    assert subject == "[Shop] ValueError: boom (999 times) at GET /user/<username>"
    assert "(1 time)" in report_subject(report(), "Shop", 1)


def test_the_subject_names_the_logger_outside_a_request() -> None:
    found = report_subject(report(where="in gunicorn.error", request=None), "Shop")
    assert found.endswith(" in gunicorn.error")


def test_an_empty_message_leaves_only_the_type() -> None:
    assert report_subject(report(""), "Shop") == "[Shop] ValueError at GET /user/<username>"


@pytest.mark.parametrize(
    "message", ["Request timed out after 30 s: GET /user/susan", "Answered 503 to GET /user/susan"]
)
def test_a_message_that_ends_with_the_request_does_not_repeat_it(message: str) -> None:
    assert "susan" not in report_subject(report(message), "Shop")
    assert report_subject(report(message), "Shop").endswith(" at GET /user/<username>")


@pytest.mark.parametrize(
    "message",
    ["Ошибка базы данных", "Zoë 漢字 🙂", "名前がありません" * 20, "naïve café", "=?utf-8?q?x?="],
)
def test_every_language_arrives_unchanged(message: str) -> None:
    lines, decoded = header_of(report(message))
    assert decoded == report_subject(report(message), "Shop")
    assert message[:50] in decoded
    assert all(line.isascii() and len(line) <= 76 for line in lines)
    assert all(len(word) <= 75 for line in lines for word in line.split() if b"=?" in word)


def test_an_ascii_subject_stays_in_one_line() -> None:
    lines, decoded = header_of(report("long words " * 30))
    assert lines == [f"Subject: {decoded}".encode()]
    assert decoded.endswith(" at GET /user/<username>")


def test_a_label_in_another_language_arrives_unchanged() -> None:
    app = AppSettings("Блог" * 10, "staging", "", ())
    envelope = Envelope("a@b.example", ("c@d.example",), "<1@b.example>", None, 0.0, app)
    content = render_report(report(), envelope)
    message = message_from_bytes(content)  # the newer policy puts spaces between encoded words
    sender = str(make_header(decode_header(message["From"])))
    assert sender.replace("\n", "") == f"{app.label} <a@b.example>"
    assert str(make_header(decode_header(message["Subject"]))).startswith(f"[{app.label}] ")
    assert content.isascii()


@pytest.mark.parametrize(
    "message",
    [
        "<script>alert(1)</script>",
        "boom\r\nBcc: everybody@example.com",
        "boom\nsecond line",
        "\x1b[31mred\x00\x7f",
        "abc \udce9 \u2028 \u202e dcba \u2066",
        "x" * 100_000,
        " " * 1000 + "boom",
        "\t\v\f\x85",
    ],
)
def test_the_subject_is_one_short_safe_line(message: str) -> None:
    for where in (f"at GET {ROUTE}", f"at POST /{message}"):
        for count in (None, 10**9):
            subject = report_subject(report(message, where=where, type=message), "Shop", count)
            assert len(subject) <= 150
            assert not {unicodedata.category(char) for char in subject} & HARMFUL
            assert not set(subject) & BIDI
            assert "<script" not in subject
            assert "</script" not in subject
    assert header_of(report(message))[1].endswith(f" at GET {ROUTE}")


def test_harmless_characters_stay_unchanged() -> None:
    message = "a <= b, %s `id` $(id) \"quoted\" 'quoted' \\ * ~ @ # & + ! ?"
    assert message in report_subject(report(message), "Shop")
