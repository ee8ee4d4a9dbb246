"""Redaction takes time linear in what it is given, whatever a visitor sends."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from flask_mayday.redaction.redactor import Redactor

SITE = Redactor(["the-secret-of-this-site", "the/other+secret"])

# 64 secrets that are all alike, as many cookies of a request can be.
HOSTILE = {"HTTP_COOKIE": "; ".join(f"c{n}={('!~' * 1400)[: 8 + 42 * n]}" for n in range(64))}
ORDINARY = {"HTTP_COOKIE": "session=eyJfZnJlc2giOmZhbHNlfQ.aSNL1w.kQ3b0mQd8sJx; theme=dark"}

TEXTS = {
    "a traceback": 'File "/srv/app/views.py", line 42, in login\n    check(user, request)\n',
    "access lines": '203.0.113.7 "GET /user/susan?q=x%20y HTTP/1.1" 200 12 ms 5123 bytes\n',
    "the secrets of the request": "!~",
    "the secrets of the request, encoded": "%21~",
    "percent": "%",
    "encoded percent": "%25",
    "encoded backslashes": "%2521%5Cn",
    "escapes": "\\n",
    "surrogates": "\\ud83d",
    "entities": "&amp;",
    "names": "key ",
    "names and equals": "token= ",
    "names and values": "token=x, ",
    "names in quotation marks": '{"password": [',
    "encoded names": "%22password%22%3A%22",
    "names in HTML": "&quot;password&quot;: &quot;",
    "attributes": 'password" a="b"',
    "blocks of YAML": "password: |\n a\n",
    "tags": "<password ",
    "URLs": "a://b:",
    "user information": "://a:b@c@",
    "keys": "-----BEGIN PRIVATE KEY",
    "rows": "Key (a)=(\n",
    "failing rows": "Failing row contains (\n",
    "entries": "Duplicate entry '",
    "values": "Incorrect a value: '",
    "web tokens": "eyJaaaaaaaa.",
    "commands": "mysql -u",
    "statements": "INSERT INTO a(password) VALUES ('",
}


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of the faster of two runs."""
    found = []
    for _ in range(2):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return min(found)


@pytest.mark.parametrize("request_of", [ORDINARY, HOSTILE], ids=["ordinary", "hostile"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_takes_time_linear_in_its_length(text: str, request_of: dict[str, object]) -> None:
    piece = TEXTS[text]
    short, long = (piece * (size // len(piece)) for size in (100_000, 800_000))
    took = seconds(lambda: SITE.bind(dict(request_of)).text(short))
    # 20 ms on an idle machine; tests run beside each other.
    assert took < 1
    assert seconds(lambda: SITE.bind(dict(request_of)).text(long)) < 40 * max(took, 0.005)


def test_an_access_line_of_a_request_with_many_cookies_is_quick() -> None:
    line = '203.0.113.7 "GET /user/susan" 200 12 ms 5123 bytes user 7'
    assert seconds(lambda: SITE.bind(dict(HOSTILE)).text(line)) < 0.5
    path = f'203.0.113.7 "GET /{"!~" * 4000}" 200 12 ms 5123 bytes user -'
    assert seconds(lambda: SITE.bind(dict(HOSTILE)).text(path)) < 0.5


def test_many_different_secrets_of_a_request_are_quick() -> None:
    cookies = "; ".join(f"c{n}={n:05}{'x!~y' * 60}{n:05}" for n in range(62))
    line = f'203.0.113.7 "GET /{"x!~y" * 2000}" 200 12 ms 5123 bytes user -'
    assert seconds(lambda: SITE.bind({"HTTP_COOKIE": cookies}).text(line)) < 0.5


def test_a_large_form_is_quick() -> None:
    fields = {f"password{n}": f"{n:04}" * 500 for n in range(500)}
    assert seconds(lambda: SITE.bind(dict(HOSTILE)).fields(fields)) < 1
