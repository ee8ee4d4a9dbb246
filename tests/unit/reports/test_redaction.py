"""Secrets: by the key they stand under, by their value in any encoding, and by their shape."""

from __future__ import annotations

import base64
import json
import re
import time
from urllib.parse import quote, quote_plus

import pytest

from app.reports.redaction import MASK, Redactor

SECRET = 'correct "horse"/battery+stäple'


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([SECRET, "short"])


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password2",
        "new_password",
        "passwd",
        "X-Api-Key",
        "apikey",
        "api_key",
        "Cookie",
        "Set-Cookie",
        "Authorization",
        "Proxy-Authorization",
        "csrf_token",
        "X-CSRFToken",
        "token",
        "sessionid",
        "PHPSESSID",
        "secret",
        "client_secret",
        "signature",
        "dsn",
        "private_key",
        "key",
        "access_key",
        "credentials",
        "pwd",
        "connect.sid",
        "X-Auth",
    ],
)
def test_a_value_under_the_name_of_a_secret_is_masked(redactor: Redactor, name: str) -> None:
    assert redactor.fields({name: "value"}) == {name: MASK}


@pytest.mark.parametrize(
    "name", ["username", "email", "page", "User-Agent", "Host", "Accept", "monkey", "keyboard", "q"]
)
def test_a_value_under_another_name_is_kept(redactor: Redactor, name: str) -> None:
    assert redactor.fields({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
    ],
)
def test_a_known_secret_is_masked_in_every_encoding(redactor: Redactor, form: str) -> None:
    assert redactor.text(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_known_secret_is_masked_in_base64_wherever_it_begins(
    redactor: Redactor, before: str, encode: type[base64.b64encode]
) -> None:
    encoded = encode(f"{before}{SECRET} and more".encode()).decode()
    redacted = redactor.text(encoded)
    assert MASK in redacted
    # What is left on both sides of the mask is less than a group of four each.
    rest = redacted.replace(MASK, "")
    assert len(rest) <= len(encoded) - 4 * (len(SECRET.encode()) // 3 - 1)


def test_a_short_value_is_not_looked_for(redactor: Redactor) -> None:
    assert redactor.text("a short story") == "a short story"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    redactor = Redactor(["password-1", "password-1-of-two"])
    assert redactor.text("it is password-1-of-two.") == f"it is {MASK}."


def test_a_redactor_without_secrets_changes_nothing() -> None:
    assert Redactor([]).text("Hello") == "Hello"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://web:hunter2@db/microblog", f"postgresql://web:{MASK}@db/microblog"),
        ("redis://:hunter2@cache:6379/0", f"redis://:{MASK}@cache:6379/0"),
        ("HTTPS://me:p%40ss@host/", f"HTTPS://me:{MASK}@host/"),
        ("Authorization: Bearer abc.def-ghi_jkl", f"Authorization: Bearer {MASK}"),
        ("basic dXNlcjpwYXNz", f"basic {MASK}"),
        (
            "DETAIL:  Key (username_lower)=(susan) already exists.",
            f"DETAIL:  Key (username_lower)=({MASK}) already exists.",
        ),
        (
            "DETAIL:  Key (email)=(a) b) already exists.\n[SQL: INSERT]",
            f"DETAIL:  Key (email)=({MASK}) already exists.\n[SQL: INSERT]",
        ),
        (
            "DETAIL:  Key (lower(email::text))=(susan@example.com) already exists.",
            f"DETAIL:  Key (lower(email::text))=({MASK}) already exists.",
        ),
        (
            "DETAIL:  Key (about)=(two\nlines) already exists.",
            f"DETAIL:  Key (about)=({MASK}) already exists.",
        ),
        (
            'DETAIL:  Key (user_id)=(7) is not present in table "user".',
            f'DETAIL:  Key (user_id)=({MASK}) is not present in table "user".',
        ),
        (
            "DETAIL:  Failing row contains (1, susan, scrypt:1$a$b, null).",
            f"DETAIL:  Failing row contains ({MASK}).",
        ),
        (
            "Referer: https://site/reset?user=susan&reset_token=abcdef&page=2",
            f"Referer: https://site/reset?user=susan&reset_token={MASK}&page=2",
        ),
        ("GET /?password=hunter2 HTTP/1.1", f"GET /?password={MASK} HTTP/1.1"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nafter",
            f"{MASK}\nafter",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and then it was cut off", MASK),
    ],
)
def test_what_has_the_shape_of_a_secret_is_masked(
    redactor: Redactor, text: str, redacted: str
) -> None:
    assert redactor.text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8080/user/susan?page=2&q=token",
        "https://example.com/path:with@signs",
        "mailto:susan@example.com",
        "12:30:45 basic English, bearer of news",
        'File "/srv/app/views.py", line 42, in login\n    check(password)',
        "Key (x) is missing",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "UNIQUE constraint failed: user.username_lower",
        "Zoë 漢字 🙂 \udce9",
        "",
    ],
)
def test_harmless_texts_stay_as_they_are(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a://",
        "a://b:",
        "DETAIL:  Key (a)=(",
        "DETAIL:  Failing row contains (",
        "(x)=(",
        "Bearer ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "?token=",
        "Key (",
        "&",
        "key",
    ],
)
def test_no_text_takes_long_to_redact(redactor: Redactor, piece: str) -> None:
    """What a visitor sends may turn up in an error; the search must not go wild over it."""
    text = piece * (100_000 // len(piece))
    started = time.process_time()
    redactor.text(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("before", range(40, 110))
def test_a_cut_does_not_leave_half_a_secret(before: int) -> None:
    redactor = Redactor(["the-secret-of-this-site"])
    for text in (
        "." * before + "the-secret-of-this-site" + "." * 500,
        "." * 500 + "the-secret-of-this-site" + "." * before,
    ):
        kept = redactor.bounded(text, 200)
        assert not re.search("[a-z]", kept.replace(MASK, "").replace("characters left out", ""))


def test_a_text_that_is_short_enough_is_not_cut(redactor: Redactor) -> None:
    assert redactor.bounded("x" * 200, 200) == "x" * 200
