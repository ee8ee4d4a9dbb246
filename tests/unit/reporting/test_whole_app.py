"""In the whole app, no log line, report, page or mail shows a visitor's secret."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask, request

PASSWORD = "correct-horse/battery"
COOKIE = "a-cookie-of-some-length"
TOKEN = "token.of~the_bearer"


@pytest.fixture
def app(make_app: Callable[..., Flask], mail_settings: dict[str, object]) -> Flask:
    made = make_app(**mail_settings)

    @made.route("/reset/<path:token>", methods=["GET", "POST"])
    def reset(token: str) -> str:
        logging.getLogger("app.blog").info("Resetting for %s", dict(request.form))
        logging.getLogger("app.blog").warning("%r came with %s", token, dict(request.headers))
        try:
            raise KeyError(request.form["password"])
        except KeyError as error:
            raise ValueError(f"Authorization was {request.headers['Authorization']}") from error

    return made


def test_no_output_shows_a_visitors_secrets(
    app: Flask,
    read_log: Callable[[], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = app.test_client(use_cookies=False).post(
        f"/reset/{quote(PASSWORD)}",
        data={"password": PASSWORD},
        headers={"Cookie": f"session={COOKIE}", "Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 500
    app.extensions["mayday"].courier.stop(5)
    spool = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    written = read_log()
    assert "Resetting for" in written
    assert "Traceback (most recent call last):" in written
    captured = capsys.readouterr()
    texts = [answer.text, written, captured.out, captured.err, spool.decode("utf-8", "replace")]
    for text in texts:
        for secret in (PASSWORD, quote(PASSWORD, safe=""), COOKIE, TOKEN):
            assert secret not in text


def test_the_mail_in_the_spool_shows_no_secrets(
    app: Flask, tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    app.test_client().post(
        f"/reset/{PASSWORD}", data={"password": PASSWORD}, headers={"Authorization": TOKEN}
    )
    path = tmp_path / "spool" / "reports.db"

    def content() -> bytes:
        try:
            with sqlite3.connect(path, timeout=60) as connection:
                row = connection.execute("SELECT content FROM mails").fetchone()
        except sqlite3.OperationalError:  # the courier has not made the tables yet
            return b""
        return bytes(row[0]) if row else b""

    mail = wait_until(content, "a mail in the spool")
    assert isinstance(mail, bytes)
    assert b"ValueError: Authorization was ********" in mail
    assert b"Resetting for" in mail
    for secret in (PASSWORD, TOKEN):
        assert secret.encode() not in mail
