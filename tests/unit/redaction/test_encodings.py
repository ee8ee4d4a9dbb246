"""A known secret is masked in every encoding, and in encodings of encodings.

``EXAMPLES`` in the environment is how many are tried: 300 where it is unset, 10,000 in a long run.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flask_mayday.redaction.redactor import MASK, Redactor
from flask_mayday.redaction.values import COMMON

EXAMPLES = int(os.environ.get("EXAMPLES", "300"))

Encoding = Callable[[str], str]


def lower_percent(text: str) -> str:
    return "".join(
        f"%{byte:02x}" if byte < 48 or byte > 122 else chr(byte) for byte in text.encode()
    )


TEXT_ENCODINGS: dict[str, Encoding] = {
    "percent": lambda text: quote(text, safe=""),
    "percent, but slashes": quote,
    "percent, lower case": lower_percent,
    "percent, everything": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "form": quote_plus,
    "JSON": json.dumps,
    "JSON, other languages as they are": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON for HTML": lambda text: json.dumps(text).replace("/", "\\/").replace("<", "\\u003C"),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "HTML, hexadecimal": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "WSGI": lambda text: text.encode().decode("latin-1"),
}


def base64_at(offset: int, encode: Callable[[bytes], bytes]) -> Encoding:
    return lambda text: encode(b"u" * offset + text.encode() + b":rest").decode()


BINARY_ENCODINGS: dict[str, Encoding] = {
    "none": str,
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, upper case": lambda text: text.encode().hex().upper(),
    **{f"base64 at {n}": base64_at(n, base64.b64encode) for n in range(3)},
    **{f"base64url at {n}": base64_at(n, base64.urlsafe_b64encode) for n in range(3)},
}

secrets = st.one_of(
    st.text(st.sampled_from("abcdefghABCDEFGH0123456789"), min_size=8, max_size=40),
    st.text(
        st.sampled_from("abcXYZ012 \"'\\/%+&=<>?:;,.#{}[]$äöß漢🙂é_-~!*"), min_size=8, max_size=60
    ),
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=8, max_size=30
    ),
).filter(lambda secret: len(set(secret)) >= 5 and secret.lower() not in COMMON)


def leaks(secret: str, binary: str, chain: list[str]) -> str | None:
    """Return what is shown of an encoded secret, if anything is."""
    encoded = BINARY_ENCODINGS[binary](secret)
    for encoding in chain:
        encoded = TEXT_ENCODINGS[encoding](encoded)
    redacted = Redactor([secret]).bind(None).text(f"before |{encoded}| after")
    # What surrounds it may be masked, too: base64 can happen to hold a secret's name and "=".
    hidden = MASK in redacted and encoded not in redacted and secret not in redacted
    return None if hidden and redacted.startswith("before |") else redacted


@settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 300, database=None)
@given(
    secret=secrets,
    binary=st.sampled_from(sorted(BINARY_ENCODINGS)),
    chain=st.lists(st.sampled_from(sorted(TEXT_ENCODINGS)), max_size=3),
)
def test_a_secret_is_masked_in_any_encodings_of_encodings(
    secret: str, binary: str, chain: list[str]
) -> None:
    # Both read bytes as Latin-1, and no program does that twice.
    assume(chain.count("WSGI") + chain.count("repr of bytes") <= 1)
    assert leaks(secret, binary, chain) is None


@pytest.mark.parametrize("binary", BINARY_ENCODINGS)
@pytest.mark.parametrize("encoding", TEXT_ENCODINGS)
@pytest.mark.parametrize(
    "secret", ["dBn4/+x=9 &<'\"\\ä%41", "postgres-Letters_1", "0123456789abcdef"]
)
def test_a_secret_is_masked_in_each_encoding(secret: str, encoding: str, binary: str) -> None:
    for chain in ([], [encoding], [encoding, encoding]):
        if encoding not in ("WSGI", "repr of bytes") or len(chain) < 2:
            assert leaks(secret, binary, chain) is None
