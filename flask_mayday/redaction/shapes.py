"""Finds secrets whose value and name are unknown, by their shape: tokens, keys, URLs, SQL details.

Each pattern is found by a literal text and matched there once. Each is possessive or bounded, so
that none can backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .escapes import Span
from .names import SecretNames

# Prefixes of providers' tokens (AWS, Azure, GitHub, GitLab, Google, npm, PyPI, Slack, SendGrid,
# Stripe and others), by the minimum number of characters that follow.
TOKEN_PREFIXES: Final = {
    10: """
        sk_live_ sk_test_ rk_live_ rk_test_ whsec_ rzp_live_ xoxb- xoxp- xoxa- xoxe- xoxr-
        xoxs- xapp- xoxc- PRIVATE-TOKEN-
    """,
    15: "NRJS-",
    16: """
        AKIA ASIA ABIA ACCA AGPA AROA AIDA glpat- gldt- glrt- glptt- glft- glsoat- glcbt-
        glimt- glagent- GR1348941 tskey-
    """,
    17: "LTAI",
    20: """
        ya29. GOCSPX- ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ shpat_ shpss_ shppa_ shpca_
        sq0atp- sq0csp- FLWSECK pat-na1- pat-eu1- dckr_pat_ sk- hvs. hvb. hvr. NRAK-
        pscale_tkn_ pscale_pw_ sb_secret_
    """,
    25: "rnd_",
    28: "ATBB",
    30: """
        AIza 1//0 HRKU- access-production- access-sandbox- SG. xkeysib- npm_ hf_ dp.pt.
        dp.st. fo1_ glc_ glsa_ sntrys_ sntryu_ PMAK- sbp_ lin_api_ figd_ squ_ sqp_ nfp_
        CCIPAT_ bkua_
    """,
    32: "dapi key- ico-",
    35: "r8_",
    40: """
        ABSK EZAK dop_v1_ doo_v1_ dor_v1_ ATATT3 ATCTT3 rubygems_ gsk_ xai- pplx- pul-
        AGE-SECRET-KEY-1 ntn_ secret_ CFPAT-
    """,
    43: "oy2",
    50: "cmVmdGtu pypi- CLOJARS_ ops_eyJ",
    60: "EAA AKCp",
}
TOKEN: Final = rb"(?<![A-Za-z0-9])(?P<secret>%s[A-Za-z0-9_.~+/=-]{%d,}+)"
SEGMENT: Final = rb"[A-Za-z0-9_-]"
NO_WORD: Final = rb"(?:\s|%20|\+){1,9}(?=[a-z/+=-]{0,99}[A-Z0-9._~%])"
HOST: Final = rb"@(?=[\w\[.%-])"
USER: Final = rb"[^\s/:@?#\"'`<>\[\](){},\\]"

# The literal text that finds a shape, and the pattern to match there. Its group "secret" is masked,
# and the group "before", which a lookbehind may contain.
SHAPES: Final = (
    # JSON Web Tokens (RFC 7519), and sessions signed by itsdangerous.
    ("eyJ", rb"(?P<secret>eyJ" + SEGMENT + rb"{8,}+\.%s{4,}+(?:\.%s*+){0,3})" % (SEGMENT, SEGMENT)),
    (".eJ", rb"(?P<secret>\.eJ" + SEGMENT + rb"{8,}+\.%s{5,}+\.%s{20,}+)" % (SEGMENT, SEGMENT)),
    # Azure: a client secret of Entra ID, an API key.
    ("8Q~", rb"(?P<secret>8Q~[\w.~-]{30,}+)"),
    ("7Q~", rb"(?P<secret>7Q~[\w.~-]{30,}+)"),
    ("JQQJ99", rb"(?<=(?P<before>[A-Za-z0-9]{52}))(?P<secret>JQQJ99[A-Za-z0-9]{20,}+)"),
    (".atlasv1.", rb"(?P<secret>\.atlasv1\.[\w-]{30,}+)"),
    # Mailchimp, Telegram and webhook addresses.
    ("-us", rb"(?<=(?P<before>[0-9a-f]{32}))(?P<secret>-us\d{1,2}\b)"),
    (":AA", rb"(?<=\d{8})(?P<secret>:AA[\w-]{32,}+)"),
    ("hooks.slack.com/", rb"hooks\.slack\.com/\w{1,20}/(?P<secret>[\w/-]{10,}+)"),
    ("/api/webhooks/", rb"/api/webhooks/(?P<secret>\d{10,20}+/[\w-]{20,}+)"),
    ("webhook.office.com/", rb"webhook\.office\.com/(?P<secret>[\w@/-]{20,}+)"),
    # Password hashes: crypt, Werkzeug, Django, LDAP.
    ("$2", rb"(?P<secret>\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{20,}+)"),
    ("$argon2", rb"(?P<secret>\$argon2[^\s\"'&<>)]++)"),
    *((f"${kind}$", rb"(?P<secret>\$[156y]\$[^\s\"'&<>):]{8,}+)") for kind in "156y"),
    ("scrypt:", rb"(?P<secret>scrypt:\d[^\s\"'&<>)]{20,}+)"),
    ("pbkdf2", rb"(?P<secret>pbkdf2[:_][^\s\"'&<>)]{20,}+)"),
    ("{SSHA", rb"(?P<secret>\{SSHA\d*\}[\w+/=]{20,}+)"),
    # Private keys: PEM, SSH, PGP, PuTTY.
    (
        "-----BEGIN",
        rb"(?P<secret>-----BEGIN(?:[ +]|%20)(?:[A-Z0-9]|[ +]|%20){0,40}PRIVATE(?:[ +]|%20)KEY"
        rb"(?:(?!-----END)(?s:.))*+(?:-----END[^-\n]{0,60}-{0,5})?)",
    ),
    ("---- BEGIN", rb"(?P<secret>---- BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?:(?!---- END)(?s:.))*+)"),
    (
        "PuTTY-User-Key-File",
        rb"(?P<secret>PuTTY-User-Key-File(?:(?!Private-MAC:)(?s:.))*+(?:Private-MAC: ?\w*+)?)",
    ),
    # Credentials in headers. The words also occur in prose, so a lower-case word is not a token.
    *(
        (word, rb"(?<![\w-])%s%s(?P<secret>[\w.~+/=%%:-]{8,}+)" % (word.encode(), NO_WORD))
        for word in ("Bearer", "bearer", "BEARER", "Basic", "basic", "BASIC")
    ),
    # The user information of a URL. A number followed by a slash is a port.
    (
        "://",
        rb"://%s{0,200}+:(?!\d{1,5}(?:[\s/?#\"'`<>),;\]\\]|\Z))(?P<secret>[^\n\"'`<>@]{1,300}+"
        rb"(?:@(?=[^\s\"'`<>@/]{0,100}@)[^\n\"'`<>@]{0,100}+){0,3})" % USER + HOST,
    ),
    ("://", rb"://(?!(?:git|hg|svn)@)(?P<secret>%s{1,500}+)" % USER + HOST),
    ("%3A%2F%2F", rb"%3A%2F%2F[\w.~-]{0,200}+%3A(?!\d{1,5}%2F)(?P<secret>[\w.~%-]{1,300}?)%40"),
    # Command lines: curl -u, mysql -p, sshpass -p, redis-cli -a.
    (
        "curl ",
        rb"curl [^\n]{0,500}?(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"']{1,100}:"
        rb"(?P<secret>[^\s\"']++)",
    ),
    ("mysql", rb"mysql\w{0,20} [^\n]{0,300}? -p(?P<secret>[^\s\"'-][^\s\"']*+)"),
    ("sshpass -p", rb"sshpass -p ?[\"']?(?P<secret>[^\s\"']++)"),
    ("redis-cli ", rb"redis-cli [^\n]{0,300}?(?:-a|--pass) (?P<secret>[^\s\"']++)"),
    ("machine ", rb"machine \S{1,200} [^\n]{0,300}?password (?P<secret>\S++)"),
    # SQL that sets a password, and rows and statements quoted by databases.
    (
        "IDENTIFIED",
        rb"IDENTIFIED(?: WITH [\w']{1,60})? (?:BY|AS)(?: PASSWORD)? ?'"
        rb"(?P<secret>(?:[^'\\]|''|\\(?s:.))*+)",
    ),
    (
        "Key (",
        rb"Key \([^\n]{1,300}?\)=\((?P<secret>(?s:.){0,3000}?(?=\)(?: already exists"
        rb"| is not present| is still referenced| is duplicated| conflicts with))|(?s:.){0,3000}+)",
    ),
    (
        "Failing row contains (",
        rb"Failing row contains \((?P<secret>(?s:.){0,9000}?(?=\)\.(?:\n|\Z))|(?s:.){0,9000}+)",
    ),
    ("LINE ", rb"(?m:(?<=\n)|^)LINE \d{1,6}: (?P<secret>[^\n]++)"),
    (
        "invalid input ",
        rb"invalid input (?:syntax|value) for [^:\n]{1,100}: \""
        rb"(?P<secret>(?s:.){0,3000}?(?=\"(?:\n|\Z))|(?s:.){0,3000}+)",
    ),
    (
        "out of range: ",
        rb"out of range: \"(?P<secret>(?s:.){0,3000}?(?=\"(?:\n|\Z))|(?s:.){0,3000}+)",
    ),
    ('value "', rb"value \"(?P<secret>[^\n]{1,300}?)(?=\" is out of range for type )"),
    (
        "COPY ",
        rb"COPY [^\s,]{1,100}, line \d{1,12}(?:, column [^:\n]{1,100})?: \""
        rb"(?P<secret>[^\n]*?)(?=\"?(?:\n|\Z))",
    ),
    ("arameters: $1", rb"arameters: (?P<secret>\$1 = [^\n]++)"),
    ("[parameters: (", rb"\[parameters: \((?P<secret>[^\n]*?)\)(?=\]\n|\]\Z|\n|\Z)"),
    ("[parameters: [(", rb"\[parameters: \[(?P<secret>[^\n]*?)(?=\]\n|\]\Z|\n|\Z)"),
    ("Duplicate entry '", rb"Duplicate entry '(?P<secret>[^\n]{0,1000}?(?=' for key )|[^\n]*+)"),
    (
        "Incorrect ",
        rb"Incorrect [\w ]{1,40}value: '"
        rb"(?P<secret>[^\n]{0,1000}?(?=' for |' in |'?(?:\n|\Z))|[^\n]*+)",
    ),
    (
        "Truncated incorrect ",
        rb"Truncated incorrect \w{1,20} value: '"
        rb"(?P<secret>[^\n]{0,1000}?(?='?(?:\n|\"|\)|\Z))|[^\n]*+)",
    ),
)
INSERT: Final = re.compile(
    rb"(?i:INSERT INTO) [^(\n]{1,200}\((?P<columns>[^()]{1,3000})\)\s{0,5}(?i:VALUES)\s{0,5}\("
    rb"(?P<secret>[^\n]*+)"
)
INSERT_HINT: Final = "INSERT INTO"

Finder = Callable[[bytes, int, int, SecretNames], Span | None]


def _finder(pattern: bytes) -> Finder:
    compiled = re.compile(pattern)
    first = "before" if "before" in compiled.groupindex else "secret"

    def find(data: bytes, start: int, end: int, names: SecretNames) -> Span | None:
        del end, names
        found = compiled.match(data, start)
        return (found.start(first), found.end("secret")) if found else None

    return find


def _inserted_values(data: bytes, start: int, end: int, names: SecretNames) -> Span | None:
    """Return the span of an INSERT's values if a column has a secret's name."""
    del end
    found = INSERT.match(data, start)
    if found is None or b"'" not in found["secret"]:
        return None
    columns = found["columns"].decode("utf-8", "replace").split(",")
    return found.span("secret") if any(map(names.match, columns)) else None


def finders() -> dict[bytes, list[Finder]]:
    """Return the finders of secrets by the lower-case text that leads to their shape."""
    found: dict[bytes, list[Finder]] = {}
    for hint, pattern in SHAPES:
        found.setdefault(hint.lower().encode(), []).append(_finder(pattern))
    for length, prefixes in TOKEN_PREFIXES.items():
        for prefix in prefixes.split():
            pattern = TOKEN % (re.escape(prefix).encode(), length)
            found.setdefault(prefix.lower().encode(), []).append(_finder(pattern))
    found.setdefault(INSERT_HINT.lower().encode(), []).append(_inserted_values)
    return found
