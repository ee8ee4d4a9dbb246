"""Writes nginx's error pages from the texts and the page of ``flask_mayday.pages``.

Usage: ``generate.py PAGES TARGET``. PAGES is the folder of that package, whose modules ``words``
and ``plain`` use only the standard library. TARGET is nginx's configuration folder.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)
OTHER_DIRECTIVES = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
OTHER_HEADERS = """add_header X-Content-Type-Options nosniff always;
add_header Referrer-Policy same-origin always;
add_header Cross-Origin-Opener-Policy same-origin always;
"""
PLACEHOLDERS = ("status", "title", "detail", "request_id")  # in the page
VARIABLES = {  # of nginx, for the placeholders that have another name
    "title": "error_title",
    "detail": "error_detail",
    "request_id": "effective_request_id",
}


def load(path: Path) -> ModuleType:
    """Import a module by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def variable(name: str, encoding: str = "entity") -> str:
    """Return the SSI command that nginx replaces with a variable's value."""
    return f'<!--# echo var="{VARIABLES.get(name, name)}" encoding="{encoding}" -->'


def words_map(name: str, texts: dict[int, str], default: str) -> str:
    """Return an nginx map from the status to a text."""
    for text in (*texts.values(), default):
        if re.search(r'["\\$\n]', text):
            raise ValueError(f"nginx and JSON cannot hold this text as it is: {text}")
    lines = "".join(f'    {status} "{text}";\n' for status, text in texts.items())
    return f'map $status $error_{name} {{\n{lines}    default "{default}";\n}}\n'


def main(pages: Path, target: Path) -> None:
    """Write the maps of words, the page as HTML and as JSON, and the headers of both."""
    words, plain = load(pages / "words.py").WORDS, load(pages / "plain.py")
    maps = [
        words_map(name, {status: getattr(words[status], name) for status in words}, default)
        for name, default in (("title", words[500].title), ("detail", words[500].detail))
    ]
    (target / "words.conf").write_text("# Written by generate.py.\n" + "".join(maps))
    html = plain.PLAIN_PAGE.format(**{name: variable(name) for name in PLACEHOLDERS})
    (target / "pages").mkdir(exist_ok=True)
    (target / "pages" / "error.html").write_text(html)
    problem = {
        "type": "about:blank",
        "title": "TITLE",
        "status": "STATUS",
        "detail": "DETAIL",
        "request_id": "REQUEST_ID",
    }
    text = json.dumps(problem).replace('"STATUS"', variable("status", "none"))
    for name in ("title", "detail", "request_id"):
        text = text.replace(name.upper(), variable(name, "none"))
    (target / "pages" / "error.json").write_text(text + "\n")
    write_headers(target, html)


def write_headers(target: Path, page: str) -> None:
    """Write the headers of nginx's own pages, whose policy lets them load nothing."""
    own = f"default-src 'none'; style-src {style_hash(page)}; {OTHER_DIRECTIVES}"
    (target / "page-headers.conf").write_text(
        "# Written by generate.py.\n"
        "include headers.conf;\n"
        f'add_header Content-Security-Policy "{own}" always;\n{OTHER_HEADERS}'
    )


def style_hash(html: str) -> str:
    """Return the expression that allows a page's inline style in a content security policy."""
    digest = hashlib.sha256(STYLE.findall(html)[0].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
