"""What to lower if the database allows too few connections; the check itself needs PostgreSQL."""

from __future__ import annotations

import pytest

from app.connection_limit import what_to_lower


@pytest.mark.parametrize(
    ("workers", "threads", "advice"),
    [
        (1, 128, "WEB_THREADS to 96 or less"),
        (48, 4, "WEB_THREADS to 1 or less"),
        (49, 4, "WEB_CONCURRENCY to 19 or less"),
        (128, 256, "both settings"),
    ],
)
def test_the_advice_is_a_value_that_fits(workers, threads, advice):
    assert what_to_lower(workers, threads, 97) == advice
