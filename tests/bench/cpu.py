"""The CPU time that containers and processes have used, from the kernel's accounting."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def pid_of(container: str) -> str:
    """Return the id of a running container's first process, on this machine."""
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cpu_seconds(container: str) -> float:
    """Return the CPU time that a running container has used, in seconds (cgroups 1 and 2)."""
    pid = pid_of(container)
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        if "cpuacct" in controllers.split(","):
            usage = CGROUPS / "cpuacct" / path.lstrip("/") / "cpuacct.usage"
            return int(usage.read_text()) / 1e9
    (path,) = [path for _, controllers, path in groups if not controllers]
    statistics = (CGROUPS / path.lstrip("/") / "cpu.stat").read_text().split()
    return int(statistics[statistics.index("usage_usec") + 1]) / 1e6


def cpu_seconds_of_processes(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(cpu_seconds_of_processes, children(pid)))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
