"""The error path: the cost of a failing request with a good and with a bad mail server.

Each round also measures our app without reports, and the tutorial's app with and without its mail
handler. wrk generates the load. CPU time is that of the app's processes, the thread that mails
included: it is robust where the throughput of a busy machine is noise. Healthy requests beside
errors start at fixed times, because visitors do not wait for each other; wrk cannot do that.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.cpu import cpu_seconds_of_processes
from tests.bench.load import Run, load
from tests.bench.mail_server import BEHAVIOURS
from tests.bench.servers import RunningApp, app, mail_server

PATH = "/drill/exception"
SECONDS = 2
SETTLE = 0.5  # seconds in which the reports of a run are taken in
# The tutorial waits 5 s for each mail: a run must last for two of them, so there are fewer.
SECONDS_HANGING, ROUNDS_HANGING = 11, 2
HEALTHY_SECONDS, HEALTHY_RATE, ERROR_RATE = 2.0, 30, 5
GIVEN_UP = 10.0  # seconds

KINDS = {
    "ours, one error repeated": ("ours", "message=repeated", "ours without reports"),
    "ours, each error different": ("ours", "", "ours without reports"),
    "ours without reports": ("ours without reports", "", "ours without reports"),
    "tutorial": ("tutorial", "", "tutorial without mail"),
    "tutorial without mail": ("tutorial without mail", "", "tutorial without mail"),
}

APPS = ("ours", "ours without reports", "tutorial", "tutorial without mail")

Row = dict[str, Any]
Say = Callable[[str], None]


def measure(rounds: int, say: Say) -> tuple[list[Row], list[Row]]:
    """Return the rows of the failing requests, and of healthy requests beside them."""
    failing: list[Row] = []
    healthy: list[Row] = []
    for behaviour in BEHAVIOURS:
        with tempfile.TemporaryDirectory(prefix="microblog-bench-") as name, ExitStack() as started:
            mail_port = started.enter_context(mail_server(behaviour))
            apps = {
                app_name: started.enter_context(app(app_name, mail_port, Path(name) / app_name))
                for app_name in APPS
            }
            failing += _failing(behaviour, apps, rounds, say)
            if behaviour == "hangs":
                healthy = _healthy(apps, rounds, say)
    return failing, healthy


def _failing(behaviour: str, apps: dict[str, RunningApp], rounds: int, say: Say) -> list[Row]:
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        say(f"errors: the mail server {behaviour}, round {number + 1} of {rounds}")
        # In alternating order, so that none always runs after the same other one.
        for kind, (app_name, message, _) in list(KINDS.items())[:: 1 if number % 2 else -1]:
            slow = behaviour == "hangs" and app_name == "tutorial"
            if not slow or number < ROUNDS_HANGING:
                seconds = SECONDS_HANGING if slow else SECONDS
                runs[kind].append(_run(apps[app_name], seconds, message))
    return [_row(behaviour, kind, runs) for kind in KINDS]


def _run(running: RunningApp, seconds: int, message: str) -> Run:
    """Return what wrk has measured, and the CPU time per request in ``cpu_us``."""
    before = cpu_seconds_of_processes(running.pid)
    run = load(running.port, seconds, PATH, "POST", message)
    time.sleep(SETTLE)
    used = cpu_seconds_of_processes(running.pid) - before
    return run | {"cpu_us": used / max(run["requests"], 1) * 1e6}


def _row(behaviour: str, kind: str, runs: dict[str, list[Run]]) -> Row:
    mine = runs[kind]
    control = runs[KINDS[kind][2]][: len(mine)]
    pairs = list(zip(mine, control, strict=True))
    rates = [run["rate"] for run in mine]
    rate_ratios = [run["rate"] / other["rate"] for run, other in pairs]
    p50_ratios = [run["p50_ms"] / other["p50_ms"] for run, other in pairs]
    cpu_ratios = [run["cpu_us"] / other["cpu_us"] for run, other in pairs]
    return {
        "mail_server": behaviour,
        "app": kind,
        "rounds": len(mine),
        "errors_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "p50_ms": statistics.median(run["p50_ms"] for run in mine),
        "p99_ms": statistics.median(run["p99_ms"] for run in mine),
        "throughput_ratio": statistics.median(rate_ratios),
        "throughput_ratio_lowest": min(rate_ratios),
        "throughput_ratio_highest": max(rate_ratios),
        "p50_ratio": statistics.median(p50_ratios),
        "p50_ratio_lowest": min(p50_ratios),
        "p50_ratio_highest": max(p50_ratios),
        "cpu_us": statistics.median(run["cpu_us"] for run in mine),
        "cpu_ratio": statistics.median(cpu_ratios),
        "cpu_ratio_lowest": min(cpu_ratios),
        "cpu_ratio_highest": max(cpu_ratios),
        "unanswered": sum(run["failures"] for run in mine),
    }


def _healthy(apps: dict[str, RunningApp], rounds: int, say: Say) -> list[Row]:
    runs: dict[str, list[list[float]]] = {name: [] for name in APPS}
    for number in range(rounds):
        say(f"healthy requests beside {ERROR_RATE} errors a second, round {number + 1} of {rounds}")
        for name, running in apps.items():
            if name != "tutorial" or number < ROUNDS_HANGING:
                runs[name].append(_paced(running.port))
    return [_healthy_row(name, runs) for name in APPS]


def _paced(port: int) -> list[float]:
    """Send healthy requests and errors at fixed rates; return the seconds of the healthy ones."""
    taken: list[float] = []
    threads = []
    begin = time.monotonic()
    for number in range(int(HEALTHY_SECONDS * HEALTHY_RATE)):
        time.sleep(max(0.0, begin + number / HEALTHY_RATE - time.monotonic()))
        if number % (HEALTHY_RATE // ERROR_RATE) == 0:
            threads.append(_send(port, PATH, b"message=beside", []))
        threads.append(_send(port, "/login", None, taken))
    for thread in threads:
        thread.join()
    return taken


def _send(port: int, path: str, body: bytes | None, taken: list[float]) -> threading.Thread:
    def send() -> None:
        begin = time.monotonic()
        try:
            address = f"http://127.0.0.1:{port}{path}"
            urllib.request.urlopen(address, body, timeout=GIVEN_UP).read()
        except urllib.error.HTTPError:
            pass
        except OSError:
            taken.append(GIVEN_UP)
            return
        taken.append(time.monotonic() - begin)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _healthy_row(name: str, runs: dict[str, list[list[float]]]) -> Row:
    mine = runs[name]
    control = runs[f"{name.split()[0]} without {'mail' if 'tutorial' in name else 'reports'}"]
    ratios = [
        statistics.median(run) / statistics.median(other)
        for run, other in zip(mine, control, strict=False)
    ]
    every = [seconds for run in mine for seconds in run]
    return {
        "app": name,
        "requests": len(every),
        "over_1_s": sum(seconds > 1 for seconds in every) / len(every),
        "p50_ms": statistics.median(map(statistics.median, mine)) * 1000,
        "p99_ms": statistics.quantiles(every, n=100)[98] * 1000,
        "p50_ratio": statistics.median(ratios),
        "p50_ratio_lowest": min(ratios),
        "p50_ratio_highest": max(ratios),
    }


def table(failing: list[Row], healthy: list[Row]) -> str:
    """Return the rows as Markdown tables."""
    lines = [
        "| mail server | app | errors/s (lowest to highest) | p50 | p99 | throughput to control "
        "| p50 to control | CPU per error | CPU to control | rounds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        "| {mail_server} | {app} | {errors_per_second:,.1f} ({lowest:,.1f} to {highest:,.1f}) "
        "| {p50_ms:,.1f} ms | {p99_ms:,.1f} ms | {throughput_ratio:.3f} "
        "({throughput_ratio_lowest:.3f} to {throughput_ratio_highest:.3f}) | {p50_ratio:,.2f} "
        "({p50_ratio_lowest:,.2f} to {p50_ratio_highest:,.2f}) | {cpu_us:,.0f} µs "
        "| {cpu_ratio:.2f} ({cpu_ratio_lowest:.2f} to {cpu_ratio_highest:.2f}) "
        "| {rounds} |".format(**row)
        for row in failing
    ]
    lines += [
        "",
        f"Healthy requests, {HEALTHY_RATE} a second, beside {ERROR_RATE} errors a second, while "
        "the mail server hangs:",
        "",
        "| app | requests | over 1 s | p50 | p99 | p50 to control |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        "| {app} | {requests} | {over_1_s:.1%} | {p50_ms:,.1f} ms | {p99_ms:,.1f} ms "
        "| {p50_ratio:,.2f} ({p50_ratio_lowest:,.2f} to {p50_ratio_highest:,.2f}) |".format(**row)
        for row in healthy
    ]
    return "\n".join(lines)
