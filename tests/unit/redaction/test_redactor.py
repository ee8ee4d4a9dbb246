"""Secrets: by the key they stand under, by their value in any encoding, and by their shape."""

from __future__ import annotations

import base64
import json
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, quote_plus

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from flask_mayday.context import request_id
from flask_mayday.redaction.redactor import MASK, BoundRedactor, Redactor

SECRET = 'correct "horse"/battery+stäple'


@pytest.fixture
def site() -> Redactor:
    return Redactor([SECRET, "short"])


@pytest.fixture
def redactor(site: Redactor) -> BoundRedactor:
    return site.bind(None)


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
def test_a_known_secret_is_masked_in_every_encoding(redactor: BoundRedactor, form: str) -> None:
    assert redactor.text(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_known_secret_is_masked_in_base64_at_any_offset(
    redactor: BoundRedactor, before: str, encode: type[base64.b64encode]
) -> None:
    encoded = encode(f"{before}{SECRET} and more".encode()).decode()
    redacted = redactor.text(encoded)
    assert MASK in redacted
    # What is left on both sides of the mask is less than a group of four each.
    rest = redacted.replace(MASK, "")
    assert len(rest) <= len(encoded) - 4 * (len(SECRET.encode()) // 3 - 1)


def test_a_short_value_is_not_searched_for(redactor: BoundRedactor) -> None:
    assert redactor.text("a short story") == "a short story"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    redactor = Redactor(["password-1", "password-1-of-two"]).bind(None)
    assert redactor.text("it is password-1-of-two.") == f"it is {MASK}."


def test_a_redactor_without_secrets_changes_nothing() -> None:
    assert Redactor([]).bind(None).text("Hello") == "Hello"


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
            "column does not exist\nLINE 1: ...UPDATE x SET hash='scrypt:1$a$b', b='c'\n        ^",
            f"column does not exist\nLINE 1: {MASK}\n        ^",
        ),
        (
            "invalid input syntax for type integer: \"se\ncret\"\nLINE 1: SELECT 'se'",
            f'invalid input syntax for type integer: "{MASK}"\nLINE 1: {MASK}',
        ),
        (
            'date/time field value out of range: "1-2-3"',
            f'date/time field value out of range: "{MASK}"',
        ),
        (
            'value "99999999999" is out of range for type integer',
            f'value "{MASK}" is out of range for type integer',
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
def test_texts_shaped_like_secrets_are_masked(
    redactor: BoundRedactor, text: str, redacted: str
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
def test_harmless_texts_stay_as_they_are(redactor: BoundRedactor, text: str) -> None:
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
        "\nLINE 1: ",
        "LINE 1: ",
        'invalid input syntax for type x: "',
        'value "',
        'value out of range: "',
        "(x)=(",
        "Bearer ",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "?token=",
        "Key (",
        "&",
        "key",
        "&token=",
        "'token=",
        "token=",
        "{'password': [",
        "'password': {'a': (",
        "'password': '",
        "'password': ",
        "('password', ",
        "(password='",
        ", a='",
        '\\"a\\": ',
        '\\"key\\": \\"',
        '"key": \\',
        "\\",
        "'",
        "('",
        "Cookie: ",
        'Cookie: a="',
        "Authorization: Basic ",
        "-Key: ",
        "a-",
    ],
)
def test_no_text_takes_long_to_redact(redactor: BoundRedactor, piece: str) -> None:
    """What a visitor sends may turn up in an error; the search must stay fast."""
    text = piece * (100_000 // len(piece))
    started = time.thread_time()
    redactor.text(text)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize("before", range(40, 110))
def test_a_cut_does_not_leave_half_a_secret(before: int) -> None:
    redactor = Redactor(["the-secret-of-this-site"]).bind(None)
    for text in (
        "." * before + "the-secret-of-this-site" + "." * 500,
        "." * 500 + "the-secret-of-this-site" + "." * before,
    ):
        kept = redactor.bounded(text, 200)
        assert not re.search("[a-z]", kept.replace(MASK, "").replace("characters left out", ""))


@pytest.mark.parametrize("length", [2000, 20_000])
def test_a_cut_leaves_no_half_of_a_text_shaped_like_a_secret(length: int) -> None:
    redactor = Redactor([]).bind(None)
    said = "Authorization: Bearer " + "eyJhbGciOi" * 70
    room = length - len(said)
    for before in (*range(0, 1000, 7), *range(room - 1000, room, 7)):
        kept = redactor.bounded("." * before + said + "." * (room - before), 500)
        assert len(kept) < 550
        assert "eyJ" not in kept


@pytest.mark.parametrize("length", [800, 1500, 3900])
def test_a_cut_does_not_separate_a_secret_from_its_name(
    redactor: BoundRedactor, length: int
) -> None:
    """Masks make the text shorter, which is not to move what is beside the cut into sight."""
    said = json.dumps([{"page": number, "token": "x" * length} for number in range(60)])
    for before in range(0, length, length // 20):
        kept = redactor.bounded("." * before + said, 8000)
        assert "xx" not in kept
        assert '"page": 0' in kept
        assert '"page": 59' in kept


def test_a_text_with_too_many_matches_is_left_out(redactor: BoundRedactor) -> None:
    text = "token=x " * 12_500
    assert redactor.text(text) == "(left out: it could not be redacted safely, TooManyMatchesError)"
    assert "redacted safely, TooManyMatchesError" in redactor.bounded(text, 50_000)


def test_a_text_that_is_too_long_is_left_out(redactor: BoundRedactor) -> None:
    assert (
        redactor.text("a" * 5_000_000)
        == "(left out: it could not be redacted safely, TextTooLongError)"
    )


def test_what_was_left_out_is_counted(redactor: BoundRedactor) -> None:
    for length in (600, 20_000):
        assert f"… {length - 500} characters left out …" in redactor.bounded("." * length, 500)
    assert "… 510 characters left out …" in redactor.bounded("." * 1000, 500, missing=10)


def test_a_short_text_is_not_cut(redactor: BoundRedactor) -> None:
    assert redactor.bounded("x" * 200, 200) == "x" * 200


# Secrets of the request


def asked(**request: object) -> dict[str, object]:
    """Return the environ of a request whose form and JSON document the app has read."""
    environ = EnvironBuilder("/", **request).get_environ()  # type: ignore[arg-type]
    served = Request(environ)
    served.form  # noqa: B018 - as a view reads it
    served.get_json(silent=True)
    return environ


def test_a_secret_is_known_from_when_the_form_was_read(site: Redactor) -> None:
    data = {"password": "correct horse"}
    environ = EnvironBuilder("/", method="POST", data=data).get_environ()
    site.bind(environ).text("a line before the view has read anything")
    Request(environ).form  # noqa: B018
    assert site.bind(environ).text("no login with correct horse") == f"no login with {MASK}"


@pytest.mark.parametrize(
    "body",
    [
        {"json": [{"key": f"translation.key.{number}"} for number in range(100)]},
        {"data": {f"token{number}": f"translation.key.{number}" for number in range(100)}},
    ],
)
def test_many_fields_of_a_body_do_not_take_the_place_of_a_cookie(
    site: Redactor, body: dict[str, object]
) -> None:
    environ = asked(method="POST", headers={"Cookie": "session=correct horse"}, **body)
    assert site.bind(environ).text("a correct horse") == f"a {MASK}"


def test_many_cookies_do_not_take_the_place_of_a_password(site: Redactor) -> None:
    cookies = "; ".join(f"visited{number}=some-article-{number}" for number in range(100))
    environ = asked(method="POST", headers={"Cookie": cookies}, data={"password": "correct horse"})
    assert site.bind(environ).text("a correct horse") == f"a {MASK}"


def test_the_secrets_of_one_request_are_not_masked_in_the_next(site: Redactor) -> None:
    first = asked(method="POST", data={"password": "correct horse"})
    assert site.bind(first).text("a correct horse") == f"a {MASK}"
    assert site.bind(asked()).text("a correct horse") == "a correct horse"


def test_a_text_that_was_seen_before_is_masked_with_the_secrets_of_each_request(
    site: Redactor,
) -> None:
    text = "the first cookie, the other cookie"
    for cookie in ("the first cookie", "the other cookie", "the first cookie"):
        bound = site.bind(asked(headers={"Cookie": f"session={cookie}"}))
        assert bound.text(text) == text.replace(cookie, MASK)


def test_a_secret_that_is_added_later_is_masked_in_a_text_that_was_seen_before(
    site: Redactor,
) -> None:
    text = "raise ValueError(later-secret-value)"
    assert site.bind(None).text(text) == text
    site.add_secret("later-secret-value")
    assert site.bind(None).text(text) == f"raise ValueError({MASK})"
    assert site.bind(None).source(text) == f"raise ValueError({MASK})"


def test_a_redactor_bound_to_no_request_does_not_use_that_of_the_current_thread(
    site: Redactor,
) -> None:
    request_id.begin(asked(method="POST", data={"password": "correct horse"}), trusted=False)
    assert site.bind(None).text("a correct horse") == "a correct horse"


def test_source_is_redacted_with_the_secrets_of_the_settings_only(
    site: Redactor,
) -> None:
    environ = asked(headers={"Cookie": "a=raise ValueError"})
    assert (
        site.bind(environ).source(f"raise ValueError({SECRET!r})") == f"raise ValueError('{MASK}')"
    )


def test_the_credentials_of_a_request_are_masked_decoded_too(site: Redactor) -> None:
    credentials = base64.b64encode(b"susan:correct horse").decode()
    environ = asked(headers={"Authorization": f"Basic {credentials}"})
    assert site.bind(environ).text("susan, correct horse") == f"susan, {MASK}"
    assert site.bind(environ).text(f"<{credentials}>") == f"<{MASK}>"


@pytest.mark.parametrize(
    "text",
    [
        "susan has written 17 posts in December 2026",
        "Exception on /user/susan [GET]",
        "KeyError: 'username'",
        "[SQL: INSERT INTO user (username, password_hash) VALUES (%(username)s, %(password)s)]",
        "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint",
        "TypeError: login() got an unexpected keyword argument 'password'",
        "password: This field is required.",
        "The token has expired; the session is over; the cookie is stale.",
        "https://blog.example/explore?page=2&author=susan",
        "see https://sqlalche.me/e/20/gkpj",
        "2026-11-23 18:00:00 basic auth is off",
        "key=value; monkey=ape; keyboard=qwerty",
        "{'page': 2, 'author': 'susan', 'q': 'a secret garden'}",
        "{'key': 5, 'password': None, 'session': True}",
        "KeyError: 'token'",
        "Author: susan, Accept-Language: en, pass: 3 of 4",
        "Bad cookie: its signature has expired",
        "token: unexpected, argument --token: expected one argument",
        "('susan', 'token'), ('page', 2)",
        "sorted('key', reverse=True)",
        "me@example.com could not be reached at mail.example:25",
        "/srv/app/passenger/compass.py:17 in author",
        "ratio 3:4, a://b, C:\\Users\\susan",
        '203.0.113.7 - - "GET /user/susan HTTP/1.1" 200 5123',
        "Worker (pid:17) was sent SIGKILL! Perhaps out of memory?",
        "0123456789abcdef0123456789abcdef",
        "Zoë 漢字 🙂",
    ],
)
def test_a_harmless_text_stays_as_it_is(site: Redactor, text: str) -> None:
    environ = asked(
        method="POST",
        data={"csrf_token": "ImQwZTY3.aSNL1w.x9fJ", "password": "hunter2", "password2": "password"},
        headers={
            "Cookie": "theme=dark; lang=en; session=.eJwlzjk.aSNL1w.kQ3b0m",
            "X-Token": "12345",
        },
    )
    assert site.bind(environ).text(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("{'user': 'susan', 'password': 'short'}", f"{{'user': 'susan', 'password': '{MASK}'}}"),
        ('{"api_key":"k","page":2}', f'{{"api_key":"{MASK}","page":2}}'),
        (
            "host=db password=hunter2 dbname=microblog",
            f"host=db password={MASK} dbname=microblog",
        ),
        ("{'password': ['short', 'it\\'s']}", f"{{'password': {MASK}}}"),
        ('{"tokens": [{"a": "b"}, {"a": "c"}], "page": 2}', f'{{"tokens": {MASK}, "page": 2}}'),
        ('{"tokens": [\n  "a",\n  "b"\n],\n"page": 2}', f'{{"tokens": {MASK},\n"page": 2}}'),
        (
            "ImmutableMultiDict([('user', 'susan'), ('password', 'short'), ('page', '2')])",
            f"ImmutableMultiDict([('user', 'susan'), ('password', '{MASK}'), ('page', '2')])",
        ),
        (
            "[(b'host', b'blog'), (b'authorization', b'Token abc')]",
            f"[(b'host', b'blog'), (b'authorization', b'{MASK}')]",
        ),
        (
            "Login(user='susan', password='sh\\'ort', page=2) of Key(token='abc')",
            f"Login(user='susan', password='{MASK}', page=2) of Key(token='{MASK}')",
        ),
        ("{b'password': b'short', b'page': b'2'}", f"{{b'password': b'{MASK}', b'page': b'2'}}"),
        ('{"pin": 1234567, "page": 2}', f'{{"pin": {MASK}, "page": 2}}'),
        (f'{{"token": "{"x" * 4000}", "page": 2}}', f'{{"token": "{MASK}", "page": 2}}'),
        ("{'password': 'a\\\\', 'token': 'b'}", f"{{'password': '{MASK}', 'token': '{MASK}'}}"),
        (
            json.dumps({"body": json.dumps({"page": 2, "password": 'a"b\\', "token": "c"})}),
            json.dumps({"body": json.dumps({"page": 2, "password": MASK, "token": MASK})}),
        ),
        (
            json.dumps([json.dumps(json.dumps({"password": 'a"b', "page": 2}))]),
            json.dumps([json.dumps(json.dumps({"password": MASK, "page": 2}))]),
        ),
        ("{'error': '{\"password\": \"short\"}'}", f"{{'error': '{{\"password\": \"{MASK}\"}}'}}"),
        ("password=short&next=%2F", f"password={MASK}&next=%2F"),
        ("user=susan&password=short", f"user=susan&password={MASK}"),
        ("password=short", f"password={MASK}"),
        ("not JSON: b'password=short&next=%2F'", f"not JSON: b'password={MASK}&next=%2F'"),
        ("Cookie: session=abc; theme=dark\nHost: blog", f"Cookie: {MASK}\nHost: blog"),
        ('> Cookie: a="b c"; d=e', f"> Cookie: {MASK}"),
        ("header: Set-Cookie: session=abc; Path=/", f"header: Set-Cookie: {MASK}"),
        (
            r"send: b'GET / HTTP/1.1\r\nCookie: session=abc\r\nHost: blog\r\n\r\n'",
            rf"send: b'GET / HTTP/1.1\r\nCookie: {MASK}\r\nHost: blog\r\n\r\n'",
        ),
        ("Authorization: Token abc", f"Authorization: Token {MASK}"),
        ("authorization: abc", f"authorization: {MASK}"),
        ("Proxy-Authorization: Basic YQ==", f"Proxy-Authorization: Basic {MASK}"),
        ('Authorization: Digest username="a", response="b"', f"Authorization: Digest {MASK}"),
        ("X-Api-Key: abc\nAccept: */*", f"X-Api-Key: {MASK}\nAccept: */*"),
        ("['-H', 'X-Auth-Token: abc', 'blog']", f"['-H', 'X-Auth-Token: {MASK}', 'blog']"),
    ],
)
def test_a_value_under_a_secrets_name_is_masked_within_a_text(
    redactor: BoundRedactor, text: str, redacted: str
) -> None:
    assert redactor.text(text) == redacted


def test_nested_fields_are_masked_at_any_depth(redactor: BoundRedactor) -> None:
    fields = {"a": [{"b": {"new_password": ["x"], "c": 1}}], "page": True, "n": None}
    assert redactor.fields(fields) == {
        "a": [{"b": {"new_password": MASK, "c": 1}}],
        "page": True,
        "n": None,
    }


def test_very_many_fields_are_cut_with_a_note(redactor: BoundRedactor) -> None:
    found = redactor.fields({f"field{number}": "value" for number in range(10_000)})
    assert len(found) < 300
    assert found["…"] == "9800 more left out"


def test_no_bits_of_a_secret_are_left_beside_the_mask_in_base64(redactor: BoundRedactor) -> None:
    encoded = base64.b64encode(f"u{SECRET}".encode()).decode()
    assert redactor.text(f"<{encoded}>") == f"<{MASK}>"


def test_a_secret_of_several_lines_is_masked_where_it_was_indented(
    site: Redactor,
) -> None:
    environ = asked(method="POST", data={"private_key": "the first line\nthe second line"})
    assert site.bind(environ).text("the first line\n  | the second line") == f"{MASK}\n  | {MASK}"


def test_a_secret_can_be_added_at_any_time(site: Redactor) -> None:
    bound = site.bind(None)
    assert bound.text("a correct horse") == "a correct horse"
    site.add_secret("correct horse")
    assert bound.text(f"a correct horse, {SECRET}") == f"a {MASK}, {MASK}"


def test_a_short_secret_that_is_added_is_ignored(site: Redactor) -> None:
    site.add_secret("dev")
    assert site.bind(None).text("a dev server") == "a dev server"


def test_secrets_that_threads_add_at_the_same_time_are_all_masked(site: Redactor) -> None:
    def add(worker: int) -> None:
        for number in range(50):
            site.add_secret(f"secret of {worker}: {number:03}")
            site.bind(None).text("a line of the log")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    for worker in range(8):
        for number in range(50):
            assert site.bind(None).text(f"<secret of {worker}: {number:03}>") == f"<{MASK}>"


@pytest.mark.parametrize("name", ["session", "remember_token", "connect.sid"])
def test_no_number_of_cookies_takes_the_place_of_a_session(site: Redactor, name: str) -> None:
    others = "; ".join(f"visited{number}=article-{number}-{'x' * 900}" for number in range(200))
    environ = asked(headers={"Cookie": f"{others}; {name}=correct horse"})
    encoded = base64.b64encode(b"correct horse").decode()
    assert site.bind(environ).text(f"correct horse {encoded}") == f"{MASK} {MASK}"


def test_a_secret_is_masked_in_a_long_text_as_in_a_short_one(site: Redactor) -> None:
    """A long text is searched by an automaton, a short one is not."""
    environ = asked(headers={"Cookie": "session=correct horse; other=battery staple"})
    bound, filling = site.bind(environ), "." * 100_000
    for secret in ("correct horse", "correct%20horse", "battery staple"):
        assert bound.text(f"a {secret}") == f"a {MASK}"
        assert bound.text(f"{filling}{secret}{filling}") == f"{filling}{MASK}{filling}"


def test_a_child_forked_while_another_thread_holds_the_locks_can_redact(
    in_child: Callable[[Callable[[], object]], int],
) -> None:
    site = Redactor([SECRET])
    environ = EnvironBuilder("/", headers={"Cookie": "session=abcdefghijkl"}).get_environ()
    bound = site.bind(environ)

    def redact() -> None:
        signal.alarm(60)
        site.add_secret("another-secret-value")
        assert bound.text(f"{SECRET} abcdefghijkl another-secret-value") == " ".join([MASK] * 3)

    with site._lock, bound._request_secrets._lock:
        assert in_child(redact) == 0


def test_a_redactor_without_secrets_left_to_prepare_takes_no_lock() -> None:
    site = Redactor([SECRET])
    bound = site.bind(None)
    bound.text("prepared")
    with site.examiner.app_secrets._lock, ThreadPoolExecutor(1) as pool:
        assert pool.submit(bound.text, SECRET).result(60) == MASK
