"""Finds the value that follows a secret's name, in the notations common in texts.

The name is found first; the text after it is then matched once. Each pattern is possessive or
bounded, so that none can backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .escapes import Span
from .names import VAGUE, SecretNames

NAME_BYTES: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-" + bytes(
    range(128, 256)
)
MAX_NAME_LENGTH: Final = 60  # bytes before and after the matched word of a name
NAME_END: Final = re.compile(rb"[\w.\x80-\xff-]{0,%d}+" % MAX_NAME_LENGTH)

# A quotation mark, literal or as in HTML and URLs, with the backslashes of nested JSON.
QUOTE: Final = (
    rb"(?P<escape>\\{0,15})(?P<quote>[\"'`]|&(?:amp;){0,3}(?:quot|apos|\#34|\#39|\#x22|\#x27);"
    rb"|%(?:25){0,3}2[27])"
)
SAME_QUOTE: Final = rb"(?P=escape)(?P=quote)"
QUOTED: Final = (
    rb"(?:[A-Za-z]\w{0,30}\(){0,2}[bBuUrRfFN]{0,2}" + QUOTE + rb"(?P<secret>(?:[^\"'`\\&%]"
    rb"|\\(?P=escape)(?P=escape)?(?s:.)|(?!" + SAME_QUOTE + rb")(?s:.))*+)"
)
# The content of brackets, two levels deep: a list or an object as the secret's value.
ITEM: Final = rb"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?|[\w\s,.:+\\-]"
GROUP: Final = rb"[\[({](?:" + ITEM + rb")*+[\])}]?"
GROUPED: Final = rb"(?P<secret>[\[({](?:" + ITEM + rb"|" + GROUP + rb")*+[\])}]?)"
# Shorter numbers are not masked.
NUMBER: Final = rb"(?P<secret>\d{4,}+[\d.]*+)"
ENCODED_SPACE: Final = rb"(?:\s|%20|\+|&nbsp;){0,3}"
COLON: Final = rb"(?::=|=>|:|=|%(?:25){0,3}3[aA](?:%20|\+)?|&\#58;)"

# The value ends at a space, a quotation mark, an ampersand or the next "name=".
BARE: Final = (
    rb"(?P<secret>(?:[^\s\"'`<>&;,)}\]\\%]|[;,)}\]](?![\s\"'`<>&;,)}\]\\]|\Z|[\w-]{1,40}=)"
    rb"|\\(?![nrt\"'])|%(?!(?:25){0,3}(?:26|2[27]))|&(?!(?:amp;|\w{1,40}=)))++)"
)

KEY_QUOTE: Final = rb"(?P<key_quote>\\{0,15}(?:[\"'`]|&[\w\#;]{2,20};|%(?:25){0,3}2[27]))"


def _any(*patterns: bytes) -> tuple[re.Pattern[bytes], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


# In a dictionary, a JSON object, an item assignment, a list of pairs or an argument list.
AFTER_QUOTE: Final = _any(
    KEY_QUOTE + rb"\]?" + ENCODED_SPACE + COLON + ENCODED_SPACE + QUOTED,
    KEY_QUOTE + rb"\]?\s?" + COLON + rb"\s{0,2}" + GROUPED,
    KEY_QUOTE + rb"\]?" + ENCODED_SPACE + COLON + ENCODED_SPACE + NUMBER,
    # <add key="password" value="x"/>, <property name="password">x<
    KEY_QUOTE + rb"(?:\s{1,3}[\w:-]{1,40}=[\"'][^\"'<>]{0,99}[\"']){0,3}\s{1,3}value=" + QUOTED,
    KEY_QUOTE + rb"\s{0,3}>(?P<secret>[^<]+)",
    # In a multipart form.
    KEY_QUOTE + rb"(?:\r?\n|\\r\\n){2}(?P<secret>(?:[^\r\n\\]|\\(?![rn]))++)",
)
AFTER_QUOTE_IN_PAIR: Final = _any(KEY_QUOTE + rb",\s{0,3}" + QUOTED)
AFTER_EQUALS: Final = _any(rb"\s{0,3}(?:=>|==?)\s{0,3}" + QUOTED)
AFTER_EQUALS_BARE: Final = _any(
    rb"[ \t]{0,3}(?:=>|=(?!=)|(?<=[ \t])==(?=[ \t]))[ \t]{0,3}\{?+" + BARE
)
# NAME=value on a line of its own, as in .env, with any value.
TO_LINE_END: Final = _any(rb"=(?P<secret>[^\s\"'\\](?:[^\n\\]|\\(?!n))*+)")
AFTER_COLON: Final = _any(
    rb"\s{0,3}:=?\s{0,3}" + QUOTED,
    # A YAML block, or a single word up to the end of the line or the object.
    rb":\s?[|>][+-]?\d?\n(?P<secret>(?:[ \t]+[^\n]*+(?:\n|\Z))++)",
    rb"[ \t]{0,3}:[ \t]{0,9}(?P<secret>[^\s\"'`<>{}\[\](),]++)"
    rb"(?=[ \t]{0,9}(?:\r?\n|\Z|\}|,[ \t]?[\w\"']{1,40}:|[ \t]\#))",
    rb":(?P<secret>[^\s\"'`<>{}\[\](),;&|]++)(?=[\s})\],;&])",
)
HEADER: Final = _any(
    rb": (?:(?:Basic|Bearer|Digest|Token) )?(?P<secret>(?:=\"[^\"\n]*+\"?|[^\n\"'\\])++)"
)
COOKIE_HEADER: Final = _any(rb": (?=[^\s=]{1,100}=)(?P<secret>(?:=\"[^\"\n]*+\"?|[^\n\"'\\])++)")
AFTER_DASHES: Final = _any(
    rb"[ \t]{1,3}" + QUOTED, rb"[ \t]{1,3}(?P<secret>[^\s\"'`=-][^\s\"'`]*+)"
)
SQL: Final = _any(
    rb"\s{1,3}(?:for\s\S{1,99}\s=\s)?" + QUOTED,
    rb"\(\s?" + QUOTED,
)
AFTER_TAG: Final = _any(
    rb"(?:\s[^<>]{0,200})?(?:>|&gt;)(?:<!\[CDATA\[)?(?P<secret>(?:[^<&\]]|&(?!lt;)|\](?!\]>))++)",
)
AFTER_KEY_TAG: Final = _any(rb"</key>\s{0,20}<\w{1,20}>(?P<secret>[^<]++)")
AFTER_ENCODED_EQUALS: Final = _any(
    rb"(?:%(?:25){0,3}3[dD]|&(?:amp;)?\#(?:61|x3[dD]);)(?P<secret>"
    rb"(?:(?!%(?:25){0,3}(?:26|2[27]|0[aA]))[^\s&\"'<>])++)",
)
# The patterns to try, by the byte after the name.
BY_NEXT_BYTE: Final[Mapping[bytes, tuple[re.Pattern[bytes], ...]]] = {
    **dict.fromkeys((b'"', b"'", b"`", b"\\"), AFTER_QUOTE),
    b"&": (*AFTER_QUOTE, *AFTER_ENCODED_EQUALS),
    b"%": (*AFTER_QUOTE, *AFTER_ENCODED_EQUALS),
    b"=": (*AFTER_EQUALS, *AFTER_EQUALS_BARE),
    b":": AFTER_COLON,
    b" ": (*AFTER_EQUALS, *AFTER_EQUALS_BARE, *AFTER_COLON),
    **dict.fromkeys((b">", b"<", b"("), ()),
    b"\t": (*AFTER_EQUALS, *AFTER_EQUALS_BARE),
}
# Values that describe a secret and are not one themselves.
NOT_SECRET_VALUES: Final = frozenset(
    b"none null nil true false yes no on off missing required invalid expired empty unknown "
    b"undefined wrong str int bool bytes".split()
)
SQL_NAMES: Final = frozenset({b"password", b"passphrase", b"pwd", b"passwd"})
QUOTE_SIGNS: Final = (b'"', b"'", b"`", b"\\", b"&", b"%")
BARE_SIGNS: Final = (b"=", b":", b" ", b"\t", b">")
LINE_START: Final = re.compile(rb"(?:^|\n|\\n)[ \t]{0,9}(?:export |set |ENV )?\Z")


def value_of_name(data: bytes, start: int, end: int, names: SecretNames) -> Span | None:
    """Return the span of the value after a secret's name, or an empty span if there is none.

    Returns ``None`` if the name is not that of a secret. ``start`` and ``end`` delimit a word in
    ``data`` that may be part of a secret's name.
    """
    name_end = NAME_END.match(data, end).end()  # type: ignore[union-attr]
    following = data[name_end : name_end + 1]
    patterns = BY_NEXT_BYTE.get(following)
    if patterns is None:
        return None
    window = data[max(0, start - MAX_NAME_LENGTH) : start]
    start -= len(window) - len(window.rstrip(NAME_BYTES))
    if data[start - 1 : start] == b"\\" and data[start : start + 1] in (b"n", b"r", b"t"):
        start += 1  # the letter of an escaped newline
    name = data[start:name_end]
    if not names.match(name.decode("utf-8", "replace")):
        return None
    before = data[max(0, start - 20) : start]
    if following in BARE_SIGNS and _is_vague(name, before):
        return name_end, name_end
    for pattern in (*_by_place(name, before, following), *patterns):
        if found := pattern.match(data, name_end):
            span = found.span("secret")
            return span if _is_secret(data[span[0] : span[1]], pattern) else (name_end, name_end)
    return name_end, name_end


def _is_vague(name: bytes, before: bytes) -> bool:
    """Return whether an unquoted name may be an ordinary word or a host."""
    if before.endswith(b"//"):
        return True
    return name.lower().decode("utf-8", "replace") in VAGUE and not before.endswith((b"?", b"&"))


def _by_place(name: bytes, before: bytes, following: bytes) -> tuple[re.Pattern[bytes], ...]:
    """Return the patterns of the notations that are recognised by the text before the name."""
    if before.endswith(b"<key>"):
        return AFTER_KEY_TAG
    if before.endswith((b"<", b"&lt;")) or (b"<" in before and before.endswith(b":")):
        return AFTER_TAG
    if following in QUOTE_SIGNS:
        opening = before.rstrip(b"\"'`\\bu")
        return AFTER_QUOTE_IN_PAIR if opening.endswith((b"(", b"[[")) or name[:1] == b"-" else ()
    if following == b":" and not name.startswith(b"-"):
        if name.lower() == b"cookie":
            return COOKIE_HEADER
        return HEADER if b"-" in name or name.lower() == b"authorization" else ()
    if following == b"=" and name.isupper() and LINE_START.search(before):
        return TO_LINE_END
    if following in (b" ", b"("):
        if name.startswith(b"-"):
            return AFTER_DASHES
        return SQL if name.lower() in SQL_NAMES else ()
    return ()


def _is_secret(value: bytes, pattern: re.Pattern[bytes]) -> bool:
    if pattern in AFTER_EQUALS_BARE or pattern in AFTER_COLON:
        bare = value.lower()
        return bare not in NOT_SECRET_VALUES and not (value.isdigit() and len(value) < 4)
    return bool(value)
