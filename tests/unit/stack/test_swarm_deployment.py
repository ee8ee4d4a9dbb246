"""When a service on a swarm is ready, and when it never will be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

NEW, OLD = {"Image": "web:2"}, {"Image": "web:1"}


@pytest.fixture
def deployment(load: Callable[[str], Any]) -> Any:
    return load("deploy/swarm/deployment.py")


def web(replicas: int = 1, update: str = "") -> dict[str, Any]:
    return {
        "Spec": {
            "Name": "m_web",
            "Mode": {"Replicated": {"Replicas": replicas}},
            # The engine fills in defaults for the service, but not for its tasks.
            "TaskTemplate": {"ContainerSpec": {**NEW, "DNSConfig": {}}},
        },
        **({"UpdateStatus": {"State": update}} if update else {}),
    }


def job(iteration: int) -> dict[str, Any]:
    return {
        "Spec": {"Name": "m_migrate", "Mode": {"ReplicatedJob": {}}},
        "JobStatus": {"JobIteration": {"Index": iteration}},
    }


def task(state: str, container: Any = NEW, desired: str = "running", **keys: Any) -> Any:
    return {
        "ID": "t",
        "Status": {"State": state, "Err": "exit 1"},
        "DesiredState": desired,
        "Spec": {"ContainerSpec": container},
        **keys,
    }


def test_a_service_is_ready_when_all_its_tasks_run_in_the_new_version(deployment: Any) -> None:
    old = task("shutdown", OLD, desired="shutdown")
    assert deployment.is_ready(web(2), [task("running"), task("running"), old])
    assert not deployment.is_ready(web(2), [task("running")])
    assert not deployment.is_ready(web(), [task("starting")])
    assert not deployment.is_ready(web(), [task("running", OLD)])
    assert not deployment.is_ready(web(update="updating"), [task("running")])


def test_a_version_that_was_rolled_back_is_an_error(deployment: Any) -> None:
    failed = task("failed", desired="shutdown")
    assert not deployment.is_ready(web(update="rollback_started"), [failed])
    with pytest.raises(deployment.DeploymentError, match="went back to the one before"):
        deployment.is_ready(web(update="rollback_completed"), [failed, task("running")])


def test_an_update_that_the_swarm_has_stopped_is_not_called_a_rollback(deployment: Any) -> None:
    with pytest.raises(deployment.DeploymentError, match="the swarm has stopped the update"):
        deployment.is_ready(web(update="paused"), [task("failed")])


def test_a_service_that_fails_again_and_again_is_an_error(deployment: Any) -> None:
    failed = [task("failed", desired="shutdown")] * 2
    assert not deployment.is_ready(web(), [task("starting"), *failed])
    with pytest.raises(deployment.DeploymentError, match="m_web does not start: exit 1"):
        deployment.is_ready(web(), [task("starting"), *failed, failed[0]])


def test_a_job_is_ready_when_its_last_run_has_ended(deployment: Any) -> None:
    first = task("complete", JobIteration={})
    assert deployment.is_ready(job(0), [first])
    assert not deployment.is_ready(job(8), [first])
    assert deployment.is_ready(job(8), [first, task("complete", JobIteration={"Index": 8})])
    with pytest.raises(deployment.DeploymentError, match="m_migrate has failed: exit 1"):
        deployment.is_ready(job(8), [task("failed", JobIteration={"Index": 8})])


def test_an_image_has_a_name_for_each_version_and_none_of_somebody_elses(
    load: Callable[[str], Any],
) -> None:
    versioned = load("deploy/swarm/image_names.py").versioned
    identifier = "sha256:0123456789abcdef"
    assert versioned("m-web", identifier, "m", "v1+dirty", "") == "m-web:v1-dirty-0123456789ab"
    assert versioned("a/mailhog:1", identifier, "m", "", "") == "m-mailhog:0123456789ab"
    assert versioned("m-db", identifier, "m", "", "host:5/x/") == "host:5/x/m-db:0123456789ab"
