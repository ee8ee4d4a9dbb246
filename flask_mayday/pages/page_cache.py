"""A cache of rendered error pages, one for each status: only the request id differs.

The page of an app's own template may be cached only if the template uses nothing but the values
that it is given, so that everybody gets the same page: see :func:`uses_only`.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Callable, Collection
from typing import Final

from jinja2 import Environment, meta, nodes
from jinja2.filters import FILTERS
from jinja2.tests import TESTS

# In place of the request id, while a page is rendered for the cache.
MARK: Final = secrets.token_hex(16)
OTHER_MARK: Final = secrets.token_hex(16)

KNOWN_FILTERS: Final = frozenset(FILTERS) - {"random"}
KNOWN_TESTS: Final = frozenset(TESTS)
# Nodes of Jinja extensions and of context functions: what they do is not known.
UNKNOWN_NODES: Final[tuple[type[nodes.Node], ...]] = (
    nodes.ContextReference,
    nodes.DerivedContextReference,
    nodes.EnvironmentAttribute,
    nodes.ExtensionAttribute,
    nodes.ImportedName,
    nodes.InternalName,
)


class PageCache:
    """The pages of one app, by status, each with a mark in place of the request id."""

    def __init__(self) -> None:
        self._pages: dict[int, str] = {}

    def page(self, status: int, request_id: str, render: Callable[[str], str]) -> str:
        """Return the page for ``status`` with this request id.

        ``render`` returns the page for a request id. If its pages differ in more than the id, it
        is called for each request.
        """
        page = self._pages.get(status)
        if page is None:
            page = render(MARK)
            if render(OTHER_MARK).replace(OTHER_MARK, MARK) != page:
                return render(request_id)
            self._pages[status] = page
        return page.replace(MARK, html.escape(request_id))


def uses_only(environment: Environment, name: str, values: Collection[str]) -> bool:
    """Return whether a template, and those it extends or includes, use these values only.

    Returns false if that cannot be determined. Raises what Jinja raises for a template that does
    not exist or has a syntax error.
    """
    # Without the globals, such as url_for: Jinja does not count them among undeclared names.
    bare = environment.overlay()
    bare.globals = {}
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if environment.loader is None:
            return False
        tree = bare.parse(environment.loader.get_source(environment, name)[0], name)
        if not _tree_uses_only(tree, values):
            return False
        for referenced in meta.find_referenced_templates(tree):
            if referenced is None:  # its name is computed
                return False
            waiting.append(referenced)
    return True


def _tree_uses_only(tree: nodes.Template, values: Collection[str]) -> bool:
    return (
        meta.find_undeclared_variables(tree) <= set(values)
        and all(one.name in KNOWN_FILTERS for one in tree.find_all(nodes.Filter))
        and all(one.name in KNOWN_TESTS for one in tree.find_all(nodes.Test))
        and not any(tree.find(unknown) for unknown in UNKNOWN_NODES)
    )
