"""Encodes headers and bodies as ASCII, for mail servers without 8BITMIME and SMTPUTF8."""

from __future__ import annotations

import base64
import binascii
from email.header import Header
from email.headerregistry import Address
from email.policy import SMTP, Policy
from typing import Final

LINE_LENGTH: Final = 900  # bytes; RFC 5322 section 2.1.1 allows 998
ENCODED_LINE_LENGTH: Final = 75  # RFC 2047 section 2 allows 76; Header takes one more

# Headers are not folded at 78 bytes: Python would encode a long Message-ID in References.
POLICY: Final = SMTP.clone(cte_type="7bit", max_line_length=LINE_LENGTH)


class EncodedHeader(str):
    """The value of a header that is encoded and folded already; EmailMessage keeps it as it is."""

    name: str
    __slots__ = ("name",)

    def fold(self, *, policy: Policy) -> str:
        """Return the header's lines, as :class:`email.policy.EmailPolicy` asks for them."""
        return f"{self.name}: {self}".replace("\n", policy.linesep) + policy.linesep


def subject_header(subject: str) -> EncodedHeader:
    """Return a subject of one line: as it is if that is ASCII, else in encoded words (RFC 2047).

    An ASCII subject stays in one piece, so that it can be searched for in raw mails.
    """
    return _header("Subject", _encoded("Subject", subject))


def from_header(name: str, address: str) -> EncodedHeader:
    """Return the sender with a display name."""
    if name.isascii():
        return _header("From", str(Address(name, addr_spec=address)))
    return _header("From", f"{_encoded('From', name)}\n <{address}>")


def encode_body(text: str) -> tuple[str, str]:
    """Return the transfer encoding for ``text``, and the text in it.

    This is 7bit for ASCII with short lines, otherwise the shorter of quoted-printable and base64.
    """
    data = text.encode("utf-8", "backslashreplace")
    if text.isascii() and max(map(len, text.split("\n"))) <= LINE_LENGTH:
        return "7bit", text
    quoted = binascii.b2a_qp(data)
    packed = base64.encodebytes(data.replace(b"\n", b"\r\n"))
    if len(quoted) <= len(packed):
        return "quoted-printable", quoted.decode("ascii")
    return "base64", packed.decode("ascii")


def _header(name: str, value: str) -> EncodedHeader:
    header = EncodedHeader(value)
    header.name = name
    return header


def _encoded(name: str, text: str) -> str:
    # "=?" would be taken for the beginning of an encoded word.
    if text.isascii() and "=?" not in text:
        return text
    return Header(text, "utf-8", ENCODED_LINE_LENGTH, header_name=name).encode()
