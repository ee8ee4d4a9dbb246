"""A mail's plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .body import Body, Lines, Pairs, Section, Trace, lines


def render(body: Body) -> str:
    """Return the mail as plain text: what and where in its first two lines."""
    blocks = [f"{body.what}\n{body.where}"]
    blocks += ["\n".join(_section(section)) for section in body.sections]
    return "\n".join(lines("\n\n".join(blocks), str)) + "\n"


def _section(section: Section) -> Iterator[str]:
    if section.title:
        yield section.title
        yield "-" * len(section.title)
    match section:
        case Pairs():
            yield from _rows(section.rows)
        case Trace():
            yield section.text
        case Lines():
            yield from section.lines


def _rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = min(20, max((len(name) for name, _ in rows), default=0))
    for name, value in rows:
        # What a visitor's lines say stands back, and cannot look like one of ours.
        said = value.replace("\n", "\n" + " " * (width + 3))
        yield f"{name + ':':<{width + 1}} {said}".rstrip()
