"""Checks that the web containers fit into their limits and those of the database.

Reads both from Compose's model, so that compose.override.yaml counts. Prints each problem with the
settings, their values and the fix, and exits with status 1.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime import compose_model

ROOT = Path(__file__).resolve().parents[2]
FORMULAS = ROOT / "flask_mayday" / "capacity.py"
MAX_CONNECTIONS = "max_connections="
DEFAULT_CONNECTIONS = 100  # PostgreSQL's own


def main() -> int:
    """Print every problem; return 1 if there is one."""
    found = problems(compose_model()["services"])
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found else 0


def problems(services: dict[str, Any]) -> list[str]:
    """Return the problems with a model's numbers of containers, workers and threads."""
    web, database = services["web"], services.get("db")
    environment = web["environment"]
    capacity = load_formulas().Capacity(
        number("WEB_CONCURRENCY", environment["MAYDAY_WEB_CONCURRENCY"]),
        number("WEB_THREADS", environment["MAYDAY_WEB_THREADS"]),
        int(web.get("deploy", {}).get("replicas", 1)),
    )
    found = [
        capacity.thread_problem(web.get("pids_limit") or sys.maxsize),
        capacity.memory_problem(int(web.get("mem_limit") or sys.maxsize)),
        capacity.connection_problem(connections_of(database)) if database else None,
    ]
    return [problem for problem in found if problem]


def connections_of(database: dict[str, Any]) -> int:
    """Return how many connections the database allows."""
    for argument in database.get("command") or ():
        _, found, value = str(argument).partition(MAX_CONNECTIONS)
        if found:
            return number("DB_MAX_CONNECTIONS", value)
    return DEFAULT_CONNECTIONS


def number(name: str, value: str) -> int:
    """Return the number in a setting; exit if it is not one: `make scale` has not checked it."""
    try:
        return int(value)
    except ValueError:
        sys.exit(f"error: {name} is '{value}': use a whole number.")


def load_formulas() -> ModuleType:
    """Import flask_mayday/capacity.py by its path: Flask need not be installed here."""
    spec = importlib.util.spec_from_file_location("capacity_formulas", FORMULAS)
    if spec is None or spec.loader is None:
        raise ImportError(str(FORMULAS))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C prints no traceback
    sys.exit(main())
