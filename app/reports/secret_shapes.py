"""What a secret looks like where its value is not known: the name it stands under, its shape."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MASK: Final = "********"

# Parts of words: Django's list and Sentry's, but for what is in "author" and "monkey".
SECRET_KEYS: Final = re.compile(
    "api[_-]?key|access[_-]?key|auth(?!or(?!i[sz]))|token|secret|pass|pwd|signature|cookie|session"
    "|csrf|xsrf|credential|private|symfony|sid$|^key$|[_-]key$|^dsn$|^otp$|^pin$",
    re.IGNORECASE,
)

# Each looks at a bounded stretch from where it begins, or consumes what it has looked at: what
# visitors send turns up in errors, and must not make the search take minutes. The first column
# is what a text must hold to be searched at all: most lines of a log hold none of it.
SHAPES: Final = (
    # PostgreSQL names the values that collide: Key (username)=(susan) already exists.
    (
        ("Key (",),
        re.compile(
            r"(\bKey \([^\n]{1,300}?\)=)\((?:.{0,3000}?\)(?= already exists| is not present"
            r"| is still referenced| is duplicated| conflicts with)|[^\n]*)",
            re.DOTALL,
        ),
        rf"\1({MASK})",
    ),
    (
        ("Failing row contains (",),
        re.compile(r"(\bFailing row contains )\((?:.{0,10000}?\)\.(?=\n|$)|[^\n]*)", re.DOTALL),
        rf"\1({MASK}).",
    ),
    # The statement that it could not read or check, with the parameters in it.
    (
        ("LINE ",),
        re.compile(r"(?m)(^\s{0,20}LINE \d{1,6}: )[^\n]+"),
        rf"\1{MASK}",
    ),
    # The value that is none of its type.
    (
        ("invalid input ", "out of range"),
        re.compile(
            r"(\binvalid input (?:syntax|value) for [^:\n]{1,100}: |\bout of range: )"
            r"\"(?:.{0,3000}?\"(?=\n|$)|[^\n]*)",
            re.DOTALL,
        ),
        rf'\1"{MASK}"',
    ),
    (
        ("is out of range for type",),
        re.compile(r"(\bvalue )\"[^\n]{1,300}?\"(?= is out of range for type )"),
        rf'\1"{MASK}"',
    ),
    # The user information of a URL: scheme://user:password@host
    (
        ("://",),
        re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,200}):[^\s/]{1,500}@", re.IGNORECASE),
        rf"\1:{MASK}@",
    ),
    # libpq's way to write the same: host=db password=… user=web
    (
        ("password=",),
        re.compile(r"(\b\w{1,40}=[^\s,]{1,200} +(?:ssl)?password=)(?:'[^']{0,500}'|[^\s,]+)"),
        rf"\1{MASK}",
    ),
    (
        ("earer", "asic", "EARER", "ASIC"),
        re.compile(r"\b(Bearer|Basic)\s{1,9}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
        rf"\1 {MASK}",
    ),
    (
        ("-----BEGIN ",),
        re.compile(r"-----BEGIN ([A-Z ]{0,40}PRIVATE KEY)-----.*?(-----END \1-----|\Z)", re.DOTALL),
        MASK,
    ),
)

# A field of a URL's query, as in a referrer, and of a dictionary or a JSON object.
QUERY_FIELD: Final = re.compile(r"([?&])([^=&?#\s]{1,80})=[^&#\s\"'<>]+")
QUOTED_FIELD: Final = re.compile(
    r"(?P<quote>[\"'])(?P<name>[\w.-]{1,60})(?P=quote)(?P<between>\s?:\s?)"
    r"(?P<other>[\"'])(?:[^\"'\\\n]|\\.|(?!(?P=other))[\"']){0,2000}(?P=other)?"
)


@lru_cache(maxsize=2000)
def is_secret_name(name: str) -> bool:
    """Tell whether what stands under ``name`` is a secret, whatever it is."""
    return SECRET_KEYS.search(name) is not None


def mask_shapes(text: str) -> str:
    """Return ``text`` without what has the shape of a secret."""
    for hints, shape, replacement in SHAPES:
        if any(hint in text for hint in hints):
            text = shape.sub(replacement, text)
    if "=" in text:
        text = QUERY_FIELD.sub(_mask_query_field, text)
    if "':" in text or '":' in text:
        text = QUOTED_FIELD.sub(_mask_quoted_field, text)
    return text


def _mask_query_field(field: re.Match[str]) -> str:
    return f"{field[1]}{field[2]}={MASK}" if is_secret_name(field[2]) else field[0]


def _mask_quoted_field(field: re.Match[str]) -> str:
    if not is_secret_name(field["name"]):
        return field[0]
    quote, other = field["quote"], field["other"]
    return f"{quote}{field['name']}{quote}{field['between']}{other}{MASK}{other}"
