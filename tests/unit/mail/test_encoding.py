"""The transfer encoding of a body: always ASCII, and the shortest of three."""

from __future__ import annotations

import base64
import quopri

import pytest

from flask_mayday.mail.encoding import encode_body


def decoded(encoding: str, payload: str) -> str:
    if encoding == "quoted-printable":
        return quopri.decodestring(payload.encode()).decode()
    if encoding == "base64":
        return base64.b64decode(payload).decode().replace("\r\n", "\n")
    return payload


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\ntext\n", "7bit"),
        ("a" * 900 + "\n", "7bit"),
        ("a" * 901 + "\n", "quoted-printable"),
        ("… 4 frames in flask …\n" + "a line of text\n" * 20, "quoted-printable"),
        ("Ошибка базы данных\n" * 20, "base64"),
        ("trailing \n.\nFrom here\té\n", "quoted-printable"),
    ],
)
def test_the_shortest_encoding_is_chosen_and_loses_nothing(text: str, expected: str) -> None:
    encoding, payload = encode_body(text)
    assert encoding == expected
    assert payload.isascii()
    assert max(map(len, payload.split("\n"))) <= 900
    assert decoded(encoding, payload) == text
