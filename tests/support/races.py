"""Eight visitors submit one name at the same moment, to PostgreSQL directly or through nginx."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from tests.support.visitor import Page, Visitor, registration

VISITORS = 8
ROUNDS = range(5)


def at_once(
    visitors: list[Visitor], path: str, fields: Callable[[int], dict[str, str]]
) -> list[Page]:
    """Let all visitors open the form at ``path`` first and then send it at the same moment."""
    barrier = Barrier(len(visitors))
    tokens = [visitor.token(path) for visitor in visitors]

    def send(number: int) -> Page:
        barrier.wait()
        return visitors[number].open(path, csrf_token=tokens[number], **fields(number))

    with ThreadPoolExecutor(len(visitors)) as threads:
        return list(threads.map(send, range(len(visitors))))


def outcome(pages: list[Page], success: str, refusal: str) -> tuple[int, int, list[int]]:
    """Return how many succeeded, how many were refused, and every status but 200."""
    return (
        sum(success in page.text for page in pages),
        sum(refusal in page.text for page in pages),
        [page.status for page in pages if page.status != 200],
    )


def register_one_name(site: str) -> tuple[int, int, list[int]]:
    name = _name()
    pages = at_once(
        [Visitor(site) for _ in range(VISITORS)],
        "/register",
        # The database compares names regardless of case.
        lambda number: registration(
            name.upper() if number % 2 else name, f"{name}.{number}@example.com"
        ),
    )
    return outcome(pages, "you are now a registered user", "Please use a different username.")


def rename_to_one_name(site: str) -> tuple[int, int, list[int]]:
    name = _name()
    visitors = [Visitor(site) for _ in range(VISITORS)]
    for number, visitor in enumerate(visitors):
        visitor.register(f"{name}.{number}")
        visitor.log_in(f"{name}.{number}")
    pages = at_once(visitors, "/edit_profile", lambda _: {"username": name, "about_me": "racing"})
    return outcome(pages, "Your changes have been saved.", "Please use a different username.")


def _name() -> str:
    return f"race-{uuid.uuid4().hex[:12]}"
