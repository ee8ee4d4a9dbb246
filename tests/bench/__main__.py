"""Run the benchmarks, print the tables, and save them with their figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from tests.bench import connections, errors, log, pages, requests

RESULTS = Path(__file__).with_name("results")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("log", "errors", "pages", "connections"))
    parser.add_argument("--json", action="store_true", help="print the figures only, as JSON")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        print("wrk, the load generator, is missing. On Debian and Ubuntu: apt-get install wrk")
        return 1
    begun, load = time.time(), os.getloadavg()
    figures: dict[str, object] = {}
    tables = []
    if arguments.only in (None, "log"):
        figures["log"] = rows = log.measure(arguments.rounds, say)
        tables.append(f"## The log\n\n{log.table(rows)}")
        figures["requests"] = found = requests.measure(arguments.rounds, say)
        tables.append(requests.table(found))
    if arguments.only in (None, "errors"):
        failing, healthy = errors.measure(arguments.rounds, say)
        figures |= {"errors": failing, "healthy": healthy}
        tables.append(f"## The error path\n\n{errors.table(failing, healthy)}")
    if arguments.only in (None, "pages"):
        figures["pages"] = rows = pages.measure(arguments.rounds, say)
        tables.append(f"## The pages\n\n{pages.table(rows)}")
    if arguments.only in (None, "connections"):
        figures["connections"] = rows = connections.measure(say)
        tables.append(f"## Connections from nginx to web\n\n{connections.table(rows)}")
    conditions = (
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(begun))}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, load before: {load[0]:.1f}; medians of "
        f"{arguments.rounds} alternating rounds, {time.time() - begun:.0f} s in all"
    )
    figures["conditions"] = conditions
    text = "\n\n".join([f"# {conditions}", *tables])
    say("")
    print(json.dumps(figures, indent=2) if arguments.json else text)
    keep(figures, text)
    return 0


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def keep(figures: dict[str, object], text: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    print(f"\nSaved in {RESULTS.relative_to(Path.cwd())}/{name}.json and .md", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
