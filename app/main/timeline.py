"""Timelines: posts newest first, one page at a time, at the cost of one query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flask import abort, request
from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload

from ..database import db
from ..models import Post, User

POSTS_PER_PAGE: Final = 10


@dataclass(frozen=True, slots=True)
class Timeline:
    """One page of posts, and the keys of its neighbours where it has any."""

    posts: list[Post]
    newer: int | None  # for ?after=
    older: int | None  # for ?before=


def read(author: User | None = None) -> Timeline:
    """Return the page that the request asks for, of everybody's posts or of one author's.

    ``?before=`` and ``?after=`` are ids of posts: a page stays the same while others write, and
    costs the same however far back it is. Answers 404 for what can be no id.
    """
    before, after = _key("before"), _key("after")
    query = select(Post).options(joinedload(Post.author))
    if author is not None:
        query = query.where(Post.user_id == author.id)
    newest_first = query.order_by(Post.id.desc())
    if before is not None:
        posts, more = _page(newest_first.where(Post.id < before))
        return Timeline(posts, max(before - 1, 0), posts[-1].id if more else None)
    if after is not None:
        posts, more = _page(query.where(Post.id > after).order_by(Post.id))
        if more:
            return Timeline(posts[::-1], posts[-1].id, posts[0].id)
    # Nothing newer than these: the first page, and a full one.
    posts, more = _page(newest_first)
    return Timeline(posts, None, posts[-1].id if more else None)


def _page(query: Select[Post]) -> tuple[list[Post], bool]:
    """Return the first posts of ``query``, and whether there are more."""
    posts = list(db.session.scalars(query.limit(POSTS_PER_PAGE + 1)))
    return posts[:POSTS_PER_PAGE], len(posts) > POSTS_PER_PAGE


def _key(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text):
        abort(404)
    return int(text)
