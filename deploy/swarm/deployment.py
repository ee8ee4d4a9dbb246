"""Deploys a stack file and waits until its jobs have ended and its other services are healthy.

Usage: ``deployment.py PROJECT FILE``, or without a file: it waits for all services of the project.
Exits with status 1, and says which service failed and why, if a job fails, an update is rolled
back, or a service is not healthy in time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIMEOUT = 180.0  # seconds until a service must be healthy; a job that runs may take longer
ATTEMPTS = 3  # failed containers after which a service counts as failed
POLL = 0.3  # seconds
FAILED = ("failed", "rejected", "orphaned")
FILLED_IN = ("DNSConfig", "Isolation", "StopGracePeriod")
JOBS = ("ReplicatedJob", "GlobalJob")
OUTCOMES = {  # of an update that has failed
    "paused": "the swarm has stopped the update",
    "rollback_completed": "the swarm went back to the one before",
    "rollback_paused": "the swarm went back to the one before, which is not healthy either",
}

Json = dict[str, Any]


class DeploymentError(Exception):
    """A service that has failed, and the task to look at."""

    def __init__(self, reason: str, task: str = "") -> None:
        super().__init__(reason)
        self.task = task


def main(project: str, file: Path | None = None) -> int:
    """Deploy, wait, and print what failed."""
    if file is None:
        listing = ("ls", "--filter", f"label=com.docker.stack.namespace={project}")
        names = docker("service", *listing, "--format", "{{.Name}}").split()
    else:
        stack = json.loads(file.read_text())["services"]
        names = [f"{project}_{service}" for service in stack]
        remove_jobs(stack, project)
        deploy(project, file)
    try:
        for name in names:
            wait(name)
    except DeploymentError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.task:
            print_log(error.task)
        return 1
    return 0


def remove_jobs(stack: Mapping[str, Json], project: str) -> None:
    """Remove the jobs that have already run, so that the deployment runs them again."""
    present = set(docker("service", "ls", "--format", "{{.Name}}").split())
    for service, keys in stack.items():
        if f"{project}_{service}" in present and keys["deploy"].get("mode", "").endswith("-job"):
            docker("service", "rm", f"{project}_{service}")


def deploy(project: str, file: Path) -> None:
    """Deploy a stack file beside what runs already."""
    options = ["--compose-file", str(file), "--detach=true"]
    # With a registry each node must get the same image, and may need a login to pull it.
    if os.environ.get("REGISTRY"):
        options += ["--with-registry-auth"]
    else:
        options += ["--resolve-image", "never"]
    docker("stack", "deploy", *options, project)


def wait(name: str) -> None:
    """Wait for one service. Raises :exc:`DeploymentError`."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        service = json.loads(docker("service", "inspect", name))[0]
        tasks = tasks_of(name)
        if is_ready(service, tasks):
            return
        is_running = is_job(service) and any(t["Status"]["State"] == "running" for t in tasks)
        if time.monotonic() > deadline and not is_running:
            states = [f"{t['Status']['State']} {t['Status'].get('Err', '')}" for t in tasks]
            why = "; ".join(states[:3]) or "no node may run it"
            raise DeploymentError(
                f"{name} is not healthy after {TIMEOUT:.0f} s: {why}",
                tasks[0]["ID"] if tasks else "",
            )
        time.sleep(POLL)


def tasks_of(name: str) -> list[Json]:
    """Return a service's tasks, the newest first."""
    identifiers = docker("service", "ps", "--quiet", "--no-trunc", name).split()
    if not identifiers:
        return []
    found: list[Json] = json.loads(docker("inspect", "--type", "task", *identifiers, or_else="[]"))
    return sorted(found, key=lambda task: str(task["CreatedAt"]), reverse=True)


def is_job(service: Json) -> bool:
    """Return whether a service is a job."""
    return any(mode in service["Spec"]["Mode"] for mode in JOBS)


def is_ready(service: Json, tasks: Sequence[Json]) -> bool:
    """Return whether a job has ended, or a service runs in its present version everywhere.

    Raises :exc:`DeploymentError` if it never will.
    """
    name = service["Spec"]["Name"]
    failed = [task for task in tasks if task["Status"]["State"] in FAILED]
    if is_job(service):
        iteration = service["JobStatus"]["JobIteration"].get("Index", 0)
        tasks = [task for task in tasks if task["JobIteration"].get("Index", 0) == iteration]
        failed = [task for task in tasks if task["Status"]["State"] in FAILED]
        if failed:
            raise DeploymentError(f"{name} has failed: {reason(failed[0])}", failed[0]["ID"])
        return bool(tasks) and all(task["Status"]["State"] == "complete" for task in tasks)
    state = service.get("UpdateStatus", {}).get("State", "completed")
    wanted = container_of(service["Spec"]["TaskTemplate"])
    if state in OUTCOMES:
        raise DeploymentError(
            f"the new version of {name} was not healthy: {OUTCOMES[state]}.",
            failed[0]["ID"] if failed else "",
        )
    present = [task for task in failed if container_of(task["Spec"]) == wanted]
    if state == "completed" and len(present) >= ATTEMPTS:
        raise DeploymentError(f"{name} does not start: {reason(present[0])}", present[0]["ID"])
    live = [task for task in tasks if task["DesiredState"] in ("running", "ready")]
    replicas = service["Spec"]["Mode"].get("Replicated", {}).get("Replicas", len(live) or 1)
    return (
        state == "completed"
        and len(live) == replicas
        and all(task["Status"]["State"] == "running" for task in live)
        and all(container_of(task["Spec"]) == wanted for task in live)
    )


def print_log(task: str) -> None:
    """Print the end of a task's log, as far as the engine sends it."""
    command = ["docker", "service", "logs", "--raw", "--tail", "30", task]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdout=sys.stderr, check=False, timeout=20)


def container_of(template: Json) -> Json:
    """Return a service's or a task's container, without what the engine fills in for services."""
    return {key: value for key, value in template["ContainerSpec"].items() if key not in FILLED_IN}


def reason(task: Json) -> str:
    """Return why a task has failed."""
    return str(task["Status"].get("Err") or task["Status"].get("Message") or "unknown")


def docker(*arguments: str, or_else: str | None = None) -> str:
    """Return the output of a docker command; exit with its error message if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and or_else is None:
        sys.exit(f"error: docker {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return or_else if done.returncode and or_else is not None else done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(Path, sys.argv[2:])))
