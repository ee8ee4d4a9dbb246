"""Renders the content of a mail as text and as HTML, from the templates beside this module."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from jinja2 import Environment, PackageLoader, select_autoescape

from ..report import traceback_text
from .content import Content
from .subject import UNPRINTABLE_CHARACTERS

UNPRINTABLE: Final = re.compile(f"[{UNPRINTABLE_CHARACTERS}]")
NAME_WIDTH: Final = 20  # characters of a name in the text's columns, at most


def render_text(content: Content) -> str:
    """Return a mail's plain text; its first two lines say what happened and where."""
    return _render("mail.txt", content=content)


def render_html(content: Content, subject: str) -> str:
    """Return a mail's HTML, which has no scripts, loads nothing, and suits phones and dark mode."""
    return _render("mail.html", content=content, subject=subject)


def _render(name: str, **values: object) -> str:
    return _environment().get_template(name).render(values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the environment; made at the first mail, which is after the fork."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=select_autoescape(["html"]),
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["column"] = _column
    environment.filters["hanging"] = _hanging
    environment.globals["traceback_text"] = traceback_text
    return environment


def _printable(value: object) -> object:
    """Escape characters that could mislead a mail client; Jinja calls this on every value."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return UNPRINTABLE.sub(
        lambda match: match[0].encode("unicode_escape").decode("ascii"),
        value.replace("\r\n", "\n"),
    )


def _column(rows: list[tuple[str, str]]) -> int:
    """Return the width of a column for the names of ``rows``."""
    return min(NAME_WIDTH, max((len(name) for name, _ in rows), default=0)) + 1


def _hanging(text: str, width: int) -> str:
    """Indent the lines after the first, so that nothing a visitor sent looks like one of ours."""
    return text.replace("\n", "\n" + " " * width)
