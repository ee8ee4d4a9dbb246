"""When a worker counts as short of memory: near the container's limit, grown, and the largest."""

from __future__ import annotations

import pytest

from flask_mayday.gunicorn import cgroup, exhaustion

MIB = 1 << 20


@pytest.mark.parametrize(
    ("size", "others", "used", "is_short"),
    [
        (300, 40, 490, True),
        (300, 40, 400, False),  # far from the limit
        (300, 350, 490, False),  # another worker is the larger one
        (90, 40, 490, False),  # it has not grown: a replacement would be no better
    ],
)
def test_the_largest_worker_that_has_grown_is_replaced_near_the_limit(
    monkeypatch: pytest.MonkeyPatch, size: int, others: int, used: int, is_short: bool
) -> None:
    sizes = {"self": 50}
    monkeypatch.setattr(
        exhaustion,
        "_memory_sizes",
        lambda process="self": (sizes["self"] * MIB, sizes.get(process, others) * MIB),
    )
    monkeypatch.setattr(cgroup, "memory_limit", lambda: 512 * MIB)
    monkeypatch.setattr(cgroup, "memory_used", lambda: used * MIB)
    resources = exhaustion.Resources(threads=4)
    sizes["self"] = size
    said = resources.exhausted()
    resources.release_reserve()
    assert bool(said) == is_short
    if is_short:
        assert said == (
            "uses 300 MiB, and its container 490 of the 512 MiB that it may use (mem_limit)"
        )
        assert resources.kind == "memory"


def test_too_few_file_descriptors_at_the_start_are_no_reason_to_replace_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exhaustion, "_free_descriptors", lambda: 30)
    resources = exhaustion.Resources(threads=64)
    assert resources.exhausted() == ""
    monkeypatch.setattr(exhaustion, "_free_descriptors", lambda: 14)
    assert "has 14 of " in resources.exhausted()
