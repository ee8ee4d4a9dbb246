"""Timelines: posts, newest first, in pages that each cost one query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from flask import abort, request
from sqlalchemy import Row, Select, bindparam, select

from ..database import db
from ..models import Post, User

POSTS_PER_PAGE: Final = 10

# Columns instead of model objects, because a page only reads its posts.
PostRow: TypeAlias = Row[int, str, datetime, str]
PostQuery: TypeAlias = Select[int, str, datetime, str]
# Looked up for each post of the page: with a join, PostgreSQL may read all users for one page.
USERNAME: Final = select(User.username).where(User.id == Post.user_id).scalar_subquery()
POSTS: Final = select(Post.id, Post.body, Post.created, USERNAME.label("username"))


class Queries:
    """The queries of one kind of timeline, built once: that takes about as long as running one."""

    def __init__(self, posts: PostQuery) -> None:
        # One more than a page, to see whether there is another page.
        self.first: Final = posts.order_by(Post.id.desc()).limit(POSTS_PER_PAGE + 1)
        self.before: Final = self.first.where(Post.id < bindparam("key"))
        after = posts.where(Post.id > bindparam("key"))
        self.after: Final = after.order_by(Post.id).limit(POSTS_PER_PAGE + 1)


OF_EVERYBODY: Final = Queries(POSTS)
OF_AUTHOR: Final = Queries(POSTS.where(Post.user_id == bindparam("author")))


@dataclass(frozen=True, slots=True)
class Timeline:
    """One page of posts, with the keys of the newer and the older page, if there are any."""

    posts: list[PostRow]
    newer: int | None  # for ?after=
    older: int | None  # for ?before=


def read(author: User | None = None) -> Timeline:
    """Return the requested page of everybody's posts, or of one author's.

    The request's ``?before=`` or ``?after=`` is the id of a post. Unlike a page number, it always
    leads to the same posts, and old pages cost no more than new ones. Answers 404 if it is not an
    id.
    """
    before, after = _key("before"), _key("after")
    queries = OF_EVERYBODY if author is None else OF_AUTHOR
    values = {} if author is None else {"author": author.id}
    if before is not None:
        # The newer page shows the post ``before`` too, and ?after= excludes its own key.
        posts, more = _page(queries.before, values | {"key": before})
        return Timeline(posts, max(before - 1, 0), posts[-1].id if more else None)
    if after is not None:
        posts, more = _page(queries.after, values | {"key": after})
        if more:
            return Timeline(posts[::-1], posts[-1].id, posts[0].id)
    # The first page; also if there are too few newer posts to fill a page.
    posts, more = _page(queries.first, values)
    return Timeline(posts, None, posts[-1].id if more else None)


def _page(query: PostQuery, values: dict[str, int]) -> tuple[list[PostRow], bool]:
    """Return the first page of ``query``, and whether there are more posts."""
    posts = list(db.session.execute(query, values))
    return posts[:POSTS_PER_PAGE], len(posts) > POSTS_PER_PAGE


def _key(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text):
        abort(404)
    return int(text)
