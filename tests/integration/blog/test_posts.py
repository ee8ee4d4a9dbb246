"""What PostgreSQL does for a page of posts: it depends neither on the posts nor on the users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from app.main.timeline import OF_AUTHOR, OF_EVERYBODY, POSTS_PER_PAGE, Queries

USERS, POSTS = 500, 20_000
BUSY, RARE = 5, USERS  # the ids of a user with many posts, and of one with ten among the oldest
SEED = f"""
INSERT INTO "user" (id, username, username_lower, email, about_me, last_seen)
SELECT number, 'user' || number, 'user' || number, '', '', now()
FROM generate_series(1, {USERS}) AS number;
INSERT INTO post (id, body, created, user_id)
SELECT number, repeat('x', 80), now(),
    CASE WHEN number <= 10 THEN {RARE} WHEN number % 2 = 0 THEN {BUSY}
    ELSE 1 + number * 7 % {USERS - 1} END
FROM generate_series(1, {POSTS}) AS number;
ANALYZE;
"""
# A page reads the index and the table once per post, and once more per name: a few blocks each.
BLOCKS = (POSTS_PER_PAGE + 1) * 6
KEYS = {"first": None, "middle": POSTS // 2, "oldest": 20, "newest": POSTS - 5}


@pytest.fixture(scope="module")
def connection(postgres_server: Any) -> Iterator[Connection]:
    name = postgres_server.create_database("microblog_template")
    url = make_url(postgres_server.url(name)).set(drivername="postgresql+psycopg2")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(SEED))
        yield connection
    engine.dispose()
    postgres_server.drop_database(name)


@pytest.mark.parametrize("page", KEYS)
@pytest.mark.parametrize("author", [None, BUSY, RARE])
def test_a_page_of_posts_reads_only_its_own_posts_and_their_names(
    connection: Connection, author: int | None, page: str
) -> None:
    queries = OF_EVERYBODY if author is None else OF_AUTHOR
    for query, values in _queries_of(queries, KEYS[page]):
        plan = _plan(connection, query, values if author is None else {**values, "author": author})
        assert not {"Hash", "Seq Scan"} & {node["Node Type"] for node in _nodes(plan)}
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BLOCKS


def _queries_of(queries: Queries, key: int | None) -> list[tuple[Any, dict[str, int]]]:
    if key is None:
        return [(queries.first, {})]
    return [(queries.before, {"key": key}), (queries.after, {"key": key})]


def _plan(connection: Connection, query: Any, values: dict[str, int]) -> dict[str, Any]:
    compiled = query.compile(connection.engine)
    statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}"
    found = connection.exec_driver_sql(statement, compiled.construct_params(values)).scalar_one()
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
