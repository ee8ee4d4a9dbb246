"""The CPU time that containers have used, from the kernel's accounting (cgroups 1 and 2)."""

from __future__ import annotations

import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def pid_of(container: str) -> str:
    """Return the id of a running container's first process, on this machine."""
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cpu_seconds(container: str) -> float:
    """Return the CPU time that a running container has used, in seconds."""
    pid = pid_of(container)
    groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in groups:
        if "cpuacct" in controllers.split(","):
            usage = CGROUPS / "cpuacct" / path.lstrip("/") / "cpuacct.usage"
            return int(usage.read_text()) / 1e9
    (path,) = [path for _, controllers, path in groups if not controllers]
    statistics = (CGROUPS / path.lstrip("/") / "cpu.stat").read_text().split()
    return int(statistics[statistics.index("usage_usec") + 1]) / 1e6
