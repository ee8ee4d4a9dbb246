"""A mail's HTML: no script, nothing from elsewhere, fit for a phone and for the dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Final

from .body import Body, Lines, Pairs, Section, Trace, lines

STYLE: Final = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
body{margin:0;padding:24px 16px;background:#f4f5f7;color:#1f2430;
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:56rem;margin:0 auto}
header{border-left:4px solid #c0392b;padding:2px 0 2px 14px;margin:0 0 20px}
h1{margin:0;font-size:20px;line-height:1.35;font-weight:650;overflow-wrap:anywhere}
header p{margin:4px 0 0;color:#5b6472;overflow-wrap:anywhere}
h2{margin:26px 0 8px;font-size:12px;line-height:1.4;font-weight:650;color:#5b6472;
letter-spacing:.06em;text-transform:uppercase}
table{width:100%;border-collapse:collapse;table-layout:fixed;background:#fff;border-radius:8px}
td{padding:6px 14px;vertical-align:top;overflow-wrap:anywhere;border-top:1px solid #eceef1}
tr:first-child td{border-top:0}
td:first-child{width:9.5rem;color:#5b6472}
pre,code{font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:0;padding:3px 14px;white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4}
.box{background:#fff;border-radius:8px;padding:8px 0;overflow:hidden}
.fold{color:#7a8391}
.own{background:#fff6e0;border-left:4px solid #e0a100;padding:4px 0;margin:4px 0}
.own pre{padding-left:10px}
.own .file{font-weight:600;padding-top:6px}
.own .src{color:#5b6472}
.hit{background:#ffe9b3;color:#1f2430}
.raised{font-weight:650;color:#a93226}
@media (max-width:480px){body{padding:14px 8px}td{display:block;padding:0 12px 6px}
td:first-child{width:auto;padding:6px 12px 0;font-size:13px}td+td{border-top:0}
pre{font-size:12px;padding-left:10px;padding-right:10px}}
@media (prefers-color-scheme:dark){body{background:#14171c;color:#e4e7ec}
table,.box{background:#1c2027}td{border-top-color:#2a2f38}
header p,h2,td:first-child,.own .src{color:#9aa4b2}header{border-left-color:#e0695c}
.fold{color:#848e9c}.own{background:#2b2617;border-left-color:#c99a1c}
.hit{background:#453a17;color:#f5ecd2}.raised{color:#f08d80}}
"""

# The lines of a traceback: a frame of the app's own, a line of source, the exception itself.
OWN: Final = re.compile(r'^> \s*File "')
SOURCE: Final = re.compile(r"^\s*(?P<hit>>?)\s*\d+(?:  .*)?$")
RAISED: Final = re.compile(r"^[\w.]{1,200}(?::.*)?$")
HEADING: Final = "Traceback (most recent call last):"


def render(subject: str, body: Body) -> str:
    """Return the mail as HTML, in lines that SMTP carries."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(subject)}</title>",
        f"<style>{STYLE}</style></head>",
        "<body><main>",
        f"<header><h1>{_text(body.what)}</h1>",
        f"<p>{_text(body.where)}</p></header>",
    ]
    for section in body.sections:
        if section.title:
            parts.append(f"<h2>{_text(section.title)}</h2>")
        parts += _section(section)
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    return "\n".join(lines(text, escape))


def _section(section: Section) -> Iterator[str]:
    match section:
        case Pairs():
            yield "<table>"
            for name, value in section.rows:
                yield f"<tr><td>{_text(name)}</td>"
                yield f"<td>{_value(name, value)}</td></tr>"
            yield "</table>"
        case Trace():
            yield '<div class="box">'
            yield from _trace(section.text)
            yield "</div>"
        case Lines():
            yield '<div class="box"><pre>'
            yield from (_text(line) for line in section.lines)
            yield "</pre></div>"


def _value(name: str, value: str) -> str:
    text = _text(value).replace("\n", "<br>\n")
    return f"<code>{text}</code>" if name in ("Request id", "Log lines", "Fingerprint") else text


def _trace(text: str) -> Iterator[str]:
    for own, block in groupby(_own_or_not(text), lambda line: line[0]):
        yield '<div class="own">' if own else ""
        for kind, run in groupby(block, lambda line: line[1]):
            yield f'<pre class="{kind}">'
            yield from (_text(line) for _, _, line in run)
            yield "</pre>"
        yield "</div>" if own else ""


def _own_or_not(text: str) -> Iterator[tuple[bool, str, str]]:
    """Yield each line: whether it belongs to a frame of the app's own, its class, itself."""
    own = False
    for line in text.split("\n"):
        if OWN.match(line):
            own = True
            yield True, "file", line[2:].lstrip()
        elif own and (source := SOURCE.match(line)):
            yield True, "hit" if source["hit"] else "src", line[2:]
        else:
            own = False
            folded = line.lstrip().startswith("… ") or line == HEADING
            raised = RAISED.match(line)
            yield False, "fold" if folded else "raised" if raised else "", line
