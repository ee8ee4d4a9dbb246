"""Reads the limits and the usage of this container from control groups, versions 1 and 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
UNLIMITED: Final = 1 << 60  # bytes; version 1 writes a huge number instead of a word
MEMBERSHIP: Final = re.compile(r"^\d+:([^:]*):(.*)$", re.MULTILINE)


def memory_limit() -> int | None:
    """Return how many bytes the container may use, or ``None`` if there is no limit."""
    limit = _number(_read("memory", "memory.max", "memory.limit_in_bytes"))
    return None if limit is None or limit >= UNLIMITED else limit


def memory_used() -> int | None:
    """Return how many bytes the container uses, without file caches that the kernel can drop."""
    used = _number(_read("memory", "memory.current", "memory.usage_in_bytes"))
    statistics = _read("memory", "memory.stat", "memory.stat")
    cache = _field(statistics, "total_inactive_file", "inactive_file")
    return None if used is None else max(0, used - (cache or 0))


def memory_kills() -> int | None:
    """Return how many of the container's processes the kernel has killed for lack of memory."""
    return _field(_read("memory", "memory.events", "memory.oom_control"), "oom_kill")


def thread_limit() -> int | None:
    """Return how many threads the container may have, or ``None`` if there is no limit."""
    return _number(_read("pids", "pids.max", "pids.max"))


def _read(controller: str, name: str, name_in_version_1: str) -> str | None:
    """Return the content of a file of this process's group, or ``None`` if there is none."""
    try:
        groups = MEMBERSHIP.findall(OWN_GROUPS.read_text())
    except OSError:
        return None
    for controllers, path in groups:
        if controllers and controller not in controllers.split(","):
            continue
        mount, file = (ROOT / controller, name_in_version_1) if controllers else (ROOT, name)
        # In a container the path is often that on the host, and the mount is the group itself.
        for folder in (mount / path.lstrip("/"), mount):
            try:
                return (folder / file).read_text()
            except OSError:
                continue
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _field(text: str | None, *names: str) -> int | None:
    """Return the number after the first of ``names`` in lines of a name and a number each."""
    fields = dict(line.split()[:2] for line in (text or "").splitlines() if len(line.split()) >= 2)
    return next((int(fields[name]) for name in names if fields.get(name, "").isdecimal()), None)
