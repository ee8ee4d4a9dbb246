"""No secret leaves: planted in every place and every form, looked for in all that goes out.

``EXAMPLES`` in the environment is how many: 300 where it is unset, 10,000 in a long run.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import sys
from collections.abc import Callable
from email import message_from_bytes, policy
from functools import cache, partial
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from flask import Request
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from flask_mayday.context import request_id
from flask_mayday.log.formats import JsonFormatter, TextFormatter
from flask_mayday.mail.message import Envelope, render_report
from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.redaction.values import COMMON
from flask_mayday.report.breadcrumbs import Breadcrumbs
from tests.support.reports import build_report

EXAMPLES = int(os.environ.get("EXAMPLES", "300"))
SETTING = "the-secret-of-this-site"
ENVELOPE = Envelope("a@b.example", ("c@d.example",), "<1@b.example>", None, 0.0)
NAMES = ["password", "password2", "new_password", "csrf_token", "api_key", "client_secret"]

# Part of a secret is a secret too: no run of this many characters of it may be found.
ENOUGH = 8


def base64_at(offset: int) -> Callable[[str], str]:
    def encode(secret: str) -> str:
        return base64.b64encode(b"u" * offset + secret.encode() + b":rest").decode()

    return encode


def urlsafe_at(offset: int) -> Callable[[str], str]:
    def encode(secret: str) -> str:
        return base64.urlsafe_b64encode(b"u" * offset + secret.encode() + b":rest").decode()

    return encode


FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "percent": lambda secret: quote(secret, safe=""),
    "percent, lower case": lambda secret: quote(secret, safe="").replace("%C3%A4", "%c3%a4"),
    "percent, but slashes": quote,
    "plus": quote_plus,
    "twice percent": lambda secret: quote(quote(secret, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON, other languages as they are": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON in JSON": lambda secret: json.dumps(json.dumps({"a": secret})),
    "repr": repr,
    "repr in repr": lambda secret: repr([repr(secret)]),
    "ascii": ascii,
    "repr of bytes": lambda secret: repr(secret.encode()),
    "HTML": html.escape,
    "WSGI": lambda secret: secret.encode().decode("latin-1"),
    **{f"base64 at {offset}": base64_at(offset) for offset in range(3)},
    **{f"base64url at {offset}": urlsafe_at(offset) for offset in range(3)},
    "percent of base64": lambda secret: quote(base64_at(0)(secret), safe=""),
}


# Where a visitor's secret comes from: each makes the request that brings it.


def in_form(name: str, secret: str) -> dict[str, Any]:
    return {"method": "POST", "data": {name: secret, "about": "me"}}


def in_upload(name: str, secret: str) -> dict[str, Any]:
    return {**in_form(name, secret), "content_type": "multipart/form-data"}


def in_json(name: str, secret: str) -> dict[str, Any]:
    return {"method": "POST", "json": {"users": [{"id": 7, name: {"new": [secret]}}]}}


def in_query(name: str, secret: str) -> dict[str, Any]:
    return {"query_string": urlencode({"page": "2", name: secret})}


def in_referrer(name: str, secret: str) -> dict[str, Any]:
    return {"headers": {"Referer": f"https://blog.example/?{urlencode({name: secret})}"}}


def in_address_of_referrer(name: str, secret: str) -> dict[str, Any]:
    address = f"/?{urlencode({name: secret})}"
    return {"headers": {"Referer": f"https://blog.example/login?{urlencode({'next': address})}"}}


def in_cookie(name: str, secret: str) -> dict[str, Any]:
    return {"headers": {"Cookie": f"theme=dark; {name}={quote(secret, safe='')}"}}


def in_basic(name: str, secret: str) -> dict[str, Any]:
    credentials = base64.b64encode(f"susan:{secret}".encode()).decode()
    return {"headers": {"Authorization": f"Basic {credentials}"}}


def in_bearer(name: str, secret: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {quote(secret, safe='')}"}}


def in_header(name: str, secret: str) -> dict[str, Any]:
    header = f"X-{name.replace('_', '-')}"
    return {"headers": {header: quote(secret, safe="")}}


SOURCES = [
    in_form,
    in_upload,
    in_json,
    in_query,
    in_referrer,
    in_address_of_referrer,
    in_cookie,
    in_basic,
    in_bearer,
    in_header,
]


# Where it turns up: each raises, or logs, a text that holds it.


def in_exception(text: str) -> None:
    raise ValueError(text)


def in_key_error(text: str) -> None:
    raise KeyError(text)


def in_cause(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        raise RuntimeError("It failed") from error


def in_context(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        raise RuntimeError("It failed")  # noqa: B904


def in_note(text: str) -> None:
    error = ValueError("It failed")
    error.add_note(f"while {text} was checked")
    raise error


def in_group(text: str) -> None:
    raise ExceptionGroup("Two", [ValueError("one"), ExceptionGroup("more", [KeyError(text)])])


def in_sql(text: str) -> None:
    raise ValueError(f"[SQL: UPDATE user SET password_hash = '{text}' WHERE id = 7]")


def in_long_text(text: str) -> None:
    raise ValueError("x " * 5000 + text + " y" * 5000)


def at_the_end_of_a_long_text(text: str) -> None:
    raise ValueError("x " * 5000 + text)


def in_breadcrumb(text: str) -> None:
    log("A line before: %s", text, handler=Breadcrumbs())
    raise ValueError("It failed")


def in_nothing(text: str) -> None:
    raise ValueError("It failed")


PLACES = [
    in_exception,
    in_key_error,
    in_cause,
    in_context,
    in_note,
    in_group,
    in_sql,
    in_long_text,
    at_the_end_of_a_long_text,
    in_breadcrumb,
    in_nothing,
]


def log(message: str, *arguments: object, handler: logging.Handler | None = None) -> Any:
    exc_info = sys.exc_info() if sys.exc_info()[0] else None
    record = logging.LogRecord("blog", logging.ERROR, __file__, 1, message, arguments, exc_info)
    if handler is not None:
        handler.handle(record)
    return record


def all_that_goes_out(request: dict[str, Any], fail: Callable[[], None], text: str) -> list[str]:
    """Serve a request that fails and return the report, the mail and the log lines."""
    redactor = Redactor([SETTING])
    environ = EnvironBuilder("/reset", **request).get_environ()
    environ["HTTP_X_TOLD"] = text.encode("utf-8", "replace").decode("latin-1")
    environ["PATH_INFO"] = f"/user/{text}".encode("utf-8", "replace").decode("latin-1")
    request_id.begin(environ, trusted=False)
    served = Request(environ)
    served.form  # noqa: B018 - as a view reads it
    served.get_json(silent=True)
    try:
        fail()
    except Exception:
        record = log("It failed: %s", text)
    return going_out(record, redactor)


def going_out(record: logging.LogRecord, redactor: Redactor) -> list[str]:
    report = build_report(record, redactor)
    content = render_report(report, ENVELOPE)
    mail: Any = message_from_bytes(content, policy=policy.default)
    bodies = [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]
    return [
        report.to_json(),
        json.dumps(json.loads(report.to_json()), ensure_ascii=False),
        *flattened(json.loads(report.to_json())),
        str(mail["Subject"]),
        *bodies,
        html.unescape(bodies[1]),
        TextFormatter(redactor).format(record),
        JsonFormatter(redactor).format(record),
        json.loads(JsonFormatter(redactor).format(record))["message"],
    ]


def flattened(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in flattened(part)]
    if isinstance(value, list):
        return [text for item in value for text in flattened(item)]
    return [str(value)]


def looked_for(secret: str) -> set[str]:
    """Return what must not be found, without asking the redaction how it looks."""
    found = {form(secret) for name, form in FORMS.items() if not name.startswith("base64")}
    found = {form.strip("\"'") for form in found} | {secret.strip(), repr(secret.encode())[2:-1]}
    raw = secret.encode()
    for offset in range(3):
        inner = raw[(3 - offset) % 3 :]
        inner = inner[: len(inner) - len(inner) % 3]
        found |= {base64.b64encode(inner).decode(), base64.urlsafe_b64encode(inner).decode()}
    return {form for form in found if len(form) >= ENOUGH}


def worth_hiding(secret: str) -> bool:
    """Leave out what is in every report, and what a header or field cannot carry unchanged."""
    plain = secret == secret.strip() and len(set(secret)) >= 5 and secret.lower() not in COMMON
    return plain and len(secret) >= ENOUGH and MASK not in secret


@cache
def own_words() -> str:
    """Return what every report says of itself: Hypothesis tries the words that it reads in code."""
    outs = [
        out
        for place in PLACES
        for source in SOURCES
        for out in all_that_goes_out(source("password", "7" * 9), partial(place, "<>"), "<>")
    ]
    return "\n".join(outs)


secret_texts = st.one_of(
    st.text(st.sampled_from("abcdefghABCDEFGH0123456789"), min_size=8, max_size=40),
    st.text(
        st.sampled_from("abcABC012 \"'\\/%+&=<>?:;,.#{}[]$\näöß漢🙂é_-~!*"), min_size=8, max_size=60
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=8, max_size=30),
    st.text(st.sampled_from("abcdefghij0123456789./$"), min_size=130, max_size=300),
).filter(worth_hiding)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 300, database=None)
@given(
    secret=secret_texts,
    name=st.sampled_from(NAMES),
    source=st.sampled_from(SOURCES),
    place=st.sampled_from(PLACES),
    form=st.sampled_from(sorted(FORMS)),
)
def test_the_secrets_of_a_request_never_go_out(
    secret: str,
    name: str,
    source: Callable[[str, str], dict[str, Any]],
    place: Callable[[str], None],
    form: str,
) -> None:
    forms = looked_for(secret)
    assume(not any(form in own_words() for form in forms))
    text = f"<{FORMS[form](secret)}>"
    for out in all_that_goes_out(source(name, secret), lambda: place(text), text):
        for leaked in forms:
            assert leaked not in out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_setting_never_goes_out(place: Callable[[str], None], form: str) -> None:
    text = f"<{FORMS[form](SETTING)}>"
    for out in all_that_goes_out({}, lambda: place(text), text):
        assert not any(leaked in out for leaked in looked_for(SETTING))
