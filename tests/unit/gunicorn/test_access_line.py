"""The access line: a sentence in text, fields in JSON."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from flask_mayday.context import request_id
from flask_mayday.gunicorn.logger import SHOWN, access_fields
from flask_mayday.log.formats import JsonFormatter
from flask_mayday.redaction.redactor import Redactor
from flask_mayday.report.request import ROUTE

RESPONSE = SimpleNamespace(status="404 NOT FOUND", sent=1234)


def fields(path: str = "/user/zoë", **more: object) -> dict[str, Any]:
    environ: dict[str, object] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path.encode().decode("latin-1"),
        "REMOTE_ADDR": "192.0.2.7",
        ROUTE: "/user/<name>",
        **more,
    }
    return access_fields(RESPONSE, environ, timedelta(milliseconds=12, microseconds=340))


def test_the_access_line_has_the_documented_fields() -> None:
    assert fields(**{request_id.USER_KEY: "7"}) == {
        "client": "192.0.2.7",
        "method": "GET",
        "url.path": "/user/zoë",
        "route": "/user/<name>",
        "status": 404,
        "duration_ms": 12.3,
        "bytes": 1234,
        "user_id": "7",
    }


def test_json_keeps_the_fields_beside_the_sentence() -> None:
    record = logging.makeLogRecord({"name": "gunicorn.access", "msg": "GET /", **fields()})
    found = json.loads(JsonFormatter(Redactor(())).format(record))
    assert (found["message"], found["status"], found["duration_ms"]) == ("GET /", 404, 12.3)
    assert found["url.path"] == "/user/zoë"


def test_bytes_of_a_path_that_are_not_utf_8_are_shown_as_escapes() -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/\xff"}
    assert access_fields(RESPONSE, environ, timedelta())["url.path"] == "/\\xff"


def test_a_long_path_is_cut() -> None:
    assert len(fields("/" + "x" * 5000)["url.path"]) == SHOWN + len("...")
