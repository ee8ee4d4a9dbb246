"""Malformed requests as bytes for a socket, reproducible by seed.

Each kind breaks one part of a request and leaves the rest as a browser sends it, so that what
comes after the broken part is reached too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

METHODS = b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT PROPFIND M-SEARCH PRI".split()
ODD_METHODS = (b"", b"get", b"Post", b"G E T", b"GET\0", b"\xc3\xa9", b"A" * 3000, b"<GET>", b"_")
PATHS = (
    *b"/ /explore /login /register /user/susan /edit_profile /drill /nothing".split(),
    b"/static/microblog.css",
)
TARGETS = (
    *b"http://x/login http:// http://x https://[::1/ ftp://x/y //x/../y x:443 ::1:99999".split(),
    *b"* login ? # /login#a \\\\x\\y /a\\..\\b /../../etc/passwd /..;/login /// /.".split(),
    *b"/% /%z /%00 /%0d%0aX:%20y /%ff%fe /%c0%ae%c0%ae/ /%u0041 /%252e".split(),
    *b"/\xc3\xa9 /\xff\xfe /\1 /\x7f".split(),
    *b"/user/%00 /user/%ed%a0%80 /user/%F0%9F%92%A9 /user/.. /user/%2e%2e /user/%0a".split(),
    *b"/static/../app /static/%2e%2e/ /static/a%00b /static// /static/icon.svg/ /static".split(),
    *b"/?%00=% /explore?before=%ff /explore?before=-1 /explore?before=99999999999999999999".split(),
    *b"/login?next=%5c%5cx /login?next=%ff /pages/error.html /refused/500 /@unanswered".split(),
    *b"/health/ready /drill/pages/999 /drill/pages/nginx/999 /drill/nothing".split(),
    *(b"/a\tb", b"/a b", b"/\0", b"/login\x0bx", b"/user/" + b"x" * 300, b"/?" + b"a=1&" * 1500),
    *(b"/" + b"a" * length for length in (5000, 7900, 9000, 70_000)),
)
VERSIONS = (
    *b"HTTP/0.9 HTTP/1.0 HTTP/1.9 HTTP/2.0 HTTP/3.0 HTTP/1. HTTP/x http/1.1 HTTP/99999.1".split(),
    *(b"", b"H", b"ICY/1.0", b"HTTP/1.1 x", b"HTTP/1.1\t", b"HTTP/1.1\0"),
)
NAMES = (
    *b"Accept Accept-Charset Accept-Encoding Accept-Language Authorization Connection".split(),
    *b"Content-Encoding Content-Type Cookie Expect Forwarded From If-Match".split(),
    *b"If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Origin".split(),
    *b"Proxy-Authorization Range Referer TE Trailer Upgrade User-Agent Via".split(),
    *b"X-Accel-Redirect X-Forwarded-For X-Forwarded-Proto X-HTTP-Method-Override".split(),
    *b"X-Request-ID HTTP2-Settings".split(),
)
VALUES = (
    *b'* -1 0 99999999999 1e9 \xc3\xa9 \xff q=;;;,, a;q=2 / a/b/c null W/ "x"'.split(),
    *b"application/json;q=1.0000 text/html;q=x,*/*;q=-1 bytes=9-1 bytes=- bytes=99999-".split(),
    *b"bytes=0-0,1-1,2-2 session=.... session=\xff;remember_token=1|\xff a=b;a=c =;=;;".split(),
    *b"remember_token=99999999999|x 100-continue websocket h2c multipart/form-data".split(),
    *b"http://[ http://[::1]x/ '\"><script> %00%ff ${jndi:ldap://x} Bearer".split(),
    *(b"", b" ", b"\t", b"Basic \xff", b"Basic " + b"A" * 999, b"close, keep-alive"),
    *(b"*" * 99, b"1.2.3.4, " * 50, b"a" * 5000),
)
ODD_HEADERS = (
    *(b"a b: c", b": c", b"nothing", b"a: \0", b"a: \1", b"a: \x7f", b"a\0: b", b"\xc3\xa9: b"),
    *(b"a : b", b" a: b", b"a: b\r\n c", b"a_b: c", b"a: b\rc: d"),
    *(b"Host: y", b"Host:", b"Host: a/b", b"Host: [::1", b"Host: \xff", b"Host: x:y"),
    *(b"X: " + b"a" * length for length in (7000, 20_000, 70_000)),
    *(b"X: y\r\n" * count + b"X: y" for count in (98, 500)),
    *(b"a" * 9000 + b": b", b"Cookie: a=b\r\n" * 50 + b"Cookie: a", b"Content-Length: 1\r\n" * 2),
)
LENGTHS = (
    *b"-1 +5 0x5 5,5 1e1 x 9999999 18446744073709551616 \xb2 5;5 5\0 0005".split(),
    *(b"", b"5 5", b"9" * 30),
)
CODINGS = (
    *b"chunked xchunked gzip identity chunked, chunked;q=1".split(),
    *(b"", b"\x0bchunked", b"chunked, chunked", b"gzip, chunked"),
    b"Chunked\r\nTransfer-Encoding: identity",
)
CHUNKS = (
    *(b"ZZ\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b"f" * 30 + b"\r\n", b"\r\n\r\n"),
    *(b"3;\0\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"3\nabc\n0\n\n"),
    *(b"0x3\r\nabc\r\n0\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n"),
    *(b"3\r\nabc\r\n0\r\nHost: y\r\n\r\n", b"3\r\nabc\r\n0\r\n\0\r\n\r\n", b"ffffffff\r\n"),
    *(b"3;" + b"a" * 9000 + b"\r\nabc\r\n0\r\n\r\n", b"200000\r\n" + b"a" * 2000),
)
FORM = b"application/x-www-form-urlencoded"
TYPES = (
    *b"multipart/form-data multipart/form-data;boundary= multipart/form-data;boundary=x".split(),
    *b"multipart/form-data;boundary=\xff application/json text/plain;charset=\xff a ; */*".split(),
    *(b"", FORM, FORM + b"; charset=utf-16", b"multipart/form-data; boundary=" + b"x" * 300),
)
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n'
BODIES = (
    *b"{ =&=&= % a=%&b=%z&c=%ff --x --x-- --\xff".split(),
    *(b"", b"\xff" * 100, b"\0" * 100, b"[" * 5000, b"&" * 9999, b"--x\r\n" * 200),
    *(b"a=1&" * 5000, b"a=" + b"b" * 300_000, b"--x\r\n" + b"X: y\r\n" * 500 + b"\r\nb\r\n--x--"),
    *(
        PART + b"\r\nb",
        PART + b"Content-Type: \xff\r\n\r\nb\r\n--x--",
        (PART + b"\r\nb\r\n") * 2000,
    ),
    PART.replace(b'"a"', b'"a\0"; filename="\xff"') + b"\r\nb\r\n--x--\r\n",
    PART.replace(b'; name="a"', b"") + b"\r\nb\r\n--x--\r\n",
)
FIELDS = b"username email password password2 post about_me remember_me".split()
FIELD_VALUES = (
    *b"%00 susan%00 %ff%fe %ed%a0%80 %C3%A9 + %0d%0a % x@ @ a@b@c x@%00.example .. -1".split(),
    *(b"", b"x" * 300, b"%F0%9F%92%A9" * 99, b"%E2%80%AE"),
)
STRANGERS = (
    *(b"", b"\r\n", b"\r\n" * 50, b"\0" * 50, b"\r", b"SSH-2.0-x\r\n", b"EHLO x\r\n", b"GET /\r\n"),
    b"\x16\x03\x01\0\xc2\x01\0\0\xbe\x03\x03" + b"a" * 190 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
)


@dataclass(frozen=True)
class Malformed:
    """A request to send; ``endless`` if its end may be missing, so that no response may come."""

    kind: str
    sent: bytes
    endless: bool = False

    @property
    def head(self) -> bool:
        """Whether the response has no body."""
        return self.sent.startswith(b"HEAD ")


@dataclass(frozen=True)
class Session:
    """A session's cookie, its CSRF token, and the paths of its forms."""

    cookie: str
    token: str
    paths: tuple[str, ...]


def malformed_requests(seed: int, count: int, *sessions: Session) -> Iterator[Malformed]:
    """Yield ``count`` requests, all kinds in turn."""
    chance = Random(seed)
    kinds: list[Callable[[Random], Malformed]] = [
        *(_line, _target, _headers, _length, _chunks, _body, _pipeline, _half, _bent, _stranger),
        lambda chance: _form(chance, chance.choice(sessions)),
    ]
    for number in range(count):
        yield kinds[number % len(kinds)](chance)


def _message(line: bytes, *headers: bytes, body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    return end.join((line, b"Host: x", *headers, b"Connection: close", b"", body))


def _plain(chance: Random) -> bytes:
    return _message(b"GET " + chance.choice(PATHS) + b" HTTP/1.1", b"Accept: text/html")


def _posting(chance: Random, *headers: bytes, body: bytes = b"") -> bytes:
    method = chance.choice((b"POST", b"POST", b"PUT", b"GET"))
    target = chance.choice((b"/login", b"/register", b"/", b"/nothing", b"/static/icon.svg"))
    return _message(method + b" " + target + b" HTTP/1.1", *headers, body=body)


def _line(chance: Random) -> Malformed:
    parts = [chance.choice(METHODS), chance.choice(PATHS), b"HTTP/1.1"]
    for part in chance.sample(range(3), chance.randint(1, 2)):
        parts[part] = chance.choice((ODD_METHODS, TARGETS, VERSIONS)[part])
    space = chance.choice((b" ", b" ", b" ", b"  ", b"\t", b"\0"))
    end = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n"))
    return Malformed("line", _message(space.join(parts), end=end))


def _target(chance: Random) -> Malformed:
    method = chance.choice((b"GET", b"GET", b"HEAD", b"POST"))
    accept = b"Accept: " + chance.choice((b"text/html", b"application/json", b"*/*"))
    line = method + b" " + chance.choice(TARGETS) + b" HTTP/1.1"
    return Malformed("target", _message(line, accept))


def _headers(chance: Random) -> Malformed:
    names, values = chance.choices(NAMES, k=3), chance.choices(VALUES, k=3)
    headers = [name + b": " + value for name, value in zip(names, values, strict=True)]
    headers[0] = chance.choice((headers[0], headers[1], chance.choice(ODD_HEADERS)))
    line = chance.choice((b"GET ", b"HEAD ", b"POST ")) + chance.choice(PATHS) + b" HTTP/1.1"
    return Malformed("headers", _message(line, *headers))


def _length(chance: Random) -> Malformed:
    """An invalid length, or both a length and a coding."""
    headers = [b"Content-Length: " + chance.choice(LENGTHS)]
    if chance.random() < 0.3:
        headers.append(b"Transfer-Encoding: " + chance.choice(CODINGS))
    return Malformed("length", _posting(chance, *headers, body=chance.choice(CHUNKS)), endless=True)


def _chunks(chance: Random) -> Malformed:
    coding = b"chunked" if chance.random() < 0.7 else chance.choice(CODINGS)
    headers = (b"Transfer-Encoding: " + coding, b"Content-Type: " + chance.choice(TYPES))
    return Malformed("chunks", _posting(chance, *headers, body=chance.choice(CHUNKS)), endless=True)


def _body(chance: Random) -> Malformed:
    body = chance.choice(BODIES)
    headers = [b"Content-Type: " + chance.choice(TYPES), b"Content-Length: %d" % len(body)]
    if chance.random() < 0.3:
        headers.append(b"Content-Encoding: " + chance.choice((b"gzip", b"deflate", b"br", b"\xff")))
    return Malformed("body", _posting(chance, *headers, body=body))


def _form(chance: Random, session: Session) -> Malformed:
    """A form with a valid token, so that its fields are read."""
    fields = [b"csrf_token=" + session.token.encode()]
    fields += [name + b"=" + chance.choice(FIELD_VALUES) for name in chance.choices(FIELDS, k=5)]
    body = b"&".join(fields)
    line = b"POST " + chance.choice(session.paths).encode() + b" HTTP/1.1"
    cookie = b"Cookie: " + session.cookie.encode()
    headers = (cookie, b"Content-Type: " + FORM, b"Content-Length: %d" % len(body))
    return Malformed("form", _message(line, *headers, body=body))


def _pipeline(chance: Random) -> Malformed:
    """Several requests on one connection, the last of them malformed."""
    first = _plain(chance).replace(b"Connection: close", b"Connection: keep-alive")
    last = chance.choice((_target, _headers, _body))(chance)
    # Not HEAD: the reader of the responses would have to know that only the last has no body.
    sent = b"GET " + last.sent.removeprefix(b"HEAD ") if last.head else last.sent
    return Malformed("pipeline", first * chance.randint(1, 3) + sent)


def _half(chance: Random) -> Malformed:
    """A client that disconnects in the middle of its request."""
    whole = chance.choice((_plain(chance), _body(chance).sent, _headers(chance).sent))
    return Malformed("half", whole[: chance.randrange(len(whole))], endless=True)


def _bent(chance: Random) -> Malformed:
    """A valid request with a few bytes changed, doubled or removed."""
    sent = bytearray(chance.choice((_plain(chance), _body(chance).sent)))
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(min(len(sent), 300))
        sent[place : place + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
    return Malformed("bent", bytes(sent), endless=True)


def _stranger(chance: Random) -> Malformed:
    """Another protocol, or random bytes."""
    sent = chance.choice((*STRANGERS, chance.randbytes(chance.randint(1, 3000))))
    return Malformed("stranger", sent, endless=b"\n" not in sent.strip(b"\r\n"))
