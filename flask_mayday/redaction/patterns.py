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

# What a secret can be where it follows its name. Each consumes what it has looked at.
UNQUOTED: Final = r"(?P<secret>[^&#\s\"'<>]+)"
ITEM: Final = r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?|[\w\s,.:+\\-]"
GROUP: Final = rf"[\[({{](?:{ITEM})*+[\])}}]?"
VALUE: Final = (
    # Quotes are escaped in a text within another, as in JSON in JSON.
    r"(?:b?(?P<escape>\\{0,7})(?P<quote>[\"']))?(?P<secret>(?(quote)"
    r"(?:[^\"'\\\n]|\\(?P=escape)(?P=escape)?.|(?!(?P=escape)?(?P=quote)).)*+"
    # A number of fewer digits is no secret worth the name.
    rf"|(?:[\[({{](?:{ITEM}|{GROUP})*+[\])}}]?|\d{{4,}}[\d.]*)))"
)
LINE: Final = r"(?:(?:Basic|Bearer|Digest|Token) )?(?P<secret>(?:=\"[^\"\n]*\"?|[^\n\"'\\])++)"

PARAMETER: Final = r"(?P<name>[^=&?#\s]{1,80})="
KEY: Final = r"(?P<name>[\w.-]{1,60})"

# A hint, a name, and what follows it if it is that of a secret. The names begin with one
# character, not one of several: only that is searched for fast.
NAMED: Final = tuple(
    (hint, re.compile(name), re.compile(value))
    for hint, name, value in (
        # A field of a URL's query, as in a referrer, and of a form's body.
        ("?", rf"\?{PARAMETER}", UNQUOTED),
        ("&", rf"&{PARAMETER}", UNQUOTED),
        ("&", rf"'{PARAMETER}", rf"{UNQUOTED}(?=&)"),
        # Of a dictionary or a JSON object.
        ("':", rf"'{KEY}\\{{0,7}}'\s?:\s?", VALUE),
        ('":', rf"\"{KEY}\\{{0,7}}\"\s?:\s?", VALUE),
        # Of a list of pairs, as are a form and headers.
        ("(", rf"\(b?'{KEY}', ", VALUE),
        # Of an object, as a dataclass shows itself.
        ("='", rf"\({KEY}=(?=')", VALUE),
        ("='", rf", {KEY}=(?=')", VALUE),
        # A header.
        ("ookie:", r"(?P<name>[Cc]ookie): (?=[^\s=]{1,100}=)", LINE),
        ("uthorization:", r"(?P<name>[Aa]uthorization): ", LINE),
        ("-", r"-(?<=\w-)(?P<name>[A-Za-z][\w-]{0,40}): ", LINE),
    )
)
NAME_REMEMBERED: Final = 100  # characters
FORM: Final = re.compile(r"[^=&?#\s\"']{1,80}=[^&#\s\"'<>]+(?:&|\Z)")


def is_secret_name(name: str) -> bool:
    """Tell whether what stands under ``name`` is a secret, whatever it is."""
    # Visitors choose names, and are not to fill the memory with them.
    known = _is_secret_name if len(name) < NAME_REMEMBERED else _is_secret_name.__wrapped__
    return known(name)


@lru_cache(maxsize=2000)
def _is_secret_name(name: str) -> bool:
    return SECRET_KEYS.search(name) is not None


def mask_shapes(text: str) -> str:
    """Return ``text`` without what has the shape of a secret."""
    for hints, shape, replacement in SHAPES:
        if any(hint in text for hint in hints):
            text = shape.sub(replacement, text)
    # Nothing is before the first field of a form's body, by which to find it.
    form = "=" in text and FORM.match(text)
    if form:
        text = f"&{text}"
    for hint, name, value in NAMED:
        if hint in text:
            text = _mask_named(text, name, value)
    return text[1:] if form else text


def _mask_named(text: str, name: re.Pattern[str], value: re.Pattern[str]) -> str:
    kept, position = [], 0
    for named in name.finditer(text):
        if named.start() < position or not is_secret_name(named["name"]):
            continue
        if found := value.match(text, named.end()):
            kept += [text[position : found.start("secret")], MASK]
            position = found.end("secret")
    return "".join(kept) + text[position:]
