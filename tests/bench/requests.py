"""The cost of one log line per request, measured on the login page."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import load
from tests.bench.servers import app, free_port

SECONDS = 1
APPS = ("ours", "ours without request log")


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Return the throughput with and without the line, and their ratio."""
    rates: dict[str, list[float]] = {name: [] for name in APPS}
    with tempfile.TemporaryDirectory(prefix="microblog-bench-") as folder, ExitStack() as started:
        apps = {
            name: started.enter_context(app(name, free_port(), Path(folder) / name))
            for name in APPS
        }
        for number in range(rounds):
            say(f"request logging, round {number + 1} of {rounds}")
            # In alternating order, because the second run finds a warmer machine.
            for name in APPS if number % 2 else reversed(APPS):
                rates[name].append(load(apps[name].port, SECONDS, "/login")["rate"])
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    return {
        "with": statistics.median(rates[APPS[0]]),
        "without": statistics.median(rates[APPS[1]]),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def table(found: dict[str, float]) -> str:
    """Return the figures as a sentence."""
    return (
        "Login page: {with:,.0f} requests per second with a log line for each, "
        "{without:,.0f} without: ratio {ratio:.3f} ({lowest:.3f} to {highest:.3f}).".format(**found)
    )
