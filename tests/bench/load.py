"""The load generator: wrk on loopback for a number of seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

CONNECTIONS = 8
SCRIPT = str(Path(__file__).with_name("load.lua"))

Run = dict[str, float]


def load(
    port: int,
    seconds: int,
    path: str,
    method: str = "GET",
    body: str = "",
    headers: Mapping[str, str] | None = None,
    keep_alive: bool = False,
) -> Run:
    """Run wrk; return requests per second (``rate``), ``p50_ms``, ``p99_ms`` and more.

    ``failures`` is the number of requests without a whole answer, ``refusals`` that of answers
    other than 2xx and 3xx.
    """
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", SCRIPT]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    command += [f"http://127.0.0.1:{port}{path}", "--", method, body]
    command += ["keep-alive"] if keep_alive else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    found: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"rate": found["requests"] / found["seconds"]}
