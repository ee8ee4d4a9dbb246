"""Where each service runs on a swarm, how many times, and how it is replaced."""

from __future__ import annotations

from translation import Keys, merge

# Reached from this machine only, so they have no place on a swarm.
OMITTED_SERVICES = frozenset(("mailguard",))
# Volumes that the job init leaves out: `make swarm-up` prepares them, on its own node only.
LOCAL_VOLUMES = frozenset(("secrets", "db", "tls", "acme"))

# The role of the nodes that a service runs on: those with its volume or its published port. MailHog
# has neither, but `make mail` must know on which node to look for it.
ROLES = {"acme": "edge", "db": "db", "mailhog": "db", "nginx": "edge"}
# A new container is healthy before an old one stops. If it fails, the version before comes back.
ROLLING: Keys = {"order": "start-first", "parallelism": 1, "monitor": "5s", "max_failure_ratio": 0}
# The others own a volume or a port, which two at once cannot have.
REPLACED: Keys = {**ROLLING, "order": "stop-first"}
EVERYWHERE: Keys = {"mode": "global", "update_config": {**REPLACED, "failure_action": "rollback"}}
PLACEMENTS: dict[str, Keys] = {
    "nginx": EVERYWHERE,
    "watch": EVERYWHERE,
    "web": {
        "mode": "replicated",
        "update_config": {**ROLLING, "failure_action": "rollback"},
        "rollback_config": {**ROLLING, "failure_action": "pause"},
    },
}


def node_label(project: str, role: str) -> str:
    """Return the label of the nodes for a role: ``db`` or ``edge``."""
    return f"mayday.{project}.{role}"


def place(name: str, service: Keys, project: str, edge_node: str = "") -> Keys:
    """Return a translated service with its placement. A model's own ``deploy`` takes precedence.

    With ``edge_node``, the id of a node, the site is published on that node only.
    """
    is_job = service["deploy"].get("restart_policy", {}).get("condition") == "none"
    rules: Keys = {"endpoint_mode": "dnsrr"}  # a virtual address would need IPVS on every node
    merge(rules, {"mode": "replicated-job"} if is_job else PLACEMENTS.get(name, {}))
    if name == "init":
        merge(rules, {"mode": "global-job"})
    if role := ROLES.get(name):
        constraints = [f"node.labels.{node_label(project, role)}==true"]
        if edge_node and role == "edge":
            constraints.append(f"node.id=={edge_node}")
        merge(rules, {"placement": {"constraints": constraints}})
    merge(rules, service["deploy"])
    return {**service, "deploy": rules}


def with_volumes_only(service: Keys) -> Keys:
    """Return the service init as a job for every node that only gives the volumes their owners."""
    volumes = [
        volume
        for volume in service["volumes"]
        if volume["type"] == "volume" and volume["source"] not in LOCAL_VOLUMES
    ]
    return {**service, "volumes": volumes, "command": [*service["command"], "volumes"]}
