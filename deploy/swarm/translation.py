"""Translates one service of Compose's model to the form that ``docker stack deploy`` accepts.

Each known key has a rule here, and any other key is an error: if it were left out silently, a limit
or a restriction could be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from secret_files import SecretFile

Keys = dict[str, Any]

SECRETS_VOLUME = "secrets"

UNCHANGED = frozenset(
    (
        *("cap_add", "cap_drop", "configs", "extra_hosts", "hostname", "init"),
        *("labels", "logging", "read_only", "stdin_open", "stop_grace_period", "stop_signal"),
        *("sysctls", "tty", "ulimits", "user", "working_dir"),
    )
)
# What a swarm expresses in another place, or not at all; the comment says where.
IGNORED_KEYS = frozenset(
    (
        "build",  # the image has been built
        "command",  # see _process
        "entrypoint",  # see _process
        "depends_on",  # the order of the stages: stack_file.py
        "group_add",  # the group's secrets are given to the user: see secret_references
        "profiles",  # only the services of active profiles are in the model
    )
)
PATIENCE = 10  # failed health checks after which a container is unhealthy
ISOLATED = "isolated"  # the network of services without one
NODE_NAME = "MAYDAY_NODE_NAME"
# The only service with published ports on a swarm.
PUBLISHED = "nginx"


class UntranslatableError(Exception):
    """A key of Compose's model, or its value, that has no counterpart on a swarm."""


@dataclass(frozen=True)
class Context:
    """What the translation needs besides the model.

    ``images`` has the name of each image on the swarm by its name in the model, ``secrets`` the
    files of the volume ``secrets``.
    """

    images: Mapping[str, str]
    secrets: tuple[SecretFile, ...] = ()


def translate(name: str, service: Keys, context: Context) -> Keys:
    """Return a service as a stack file has it, without its placement.

    Raises :exc:`UntranslatableError`, which names the service and the key.
    """
    found: Keys = {"deploy": {}}
    try:
        for key, value in service.items():
            if key in IGNORED_KEYS or key.startswith("x-") or value is None:
                continue
            if key in UNCHANGED:
                found[key] = value
            elif key in RULES:
                RULES[key](found, value)
            elif key == "image":
                found[key] = context.images.get(value, value)
            elif key == "ports":
                found[key] = [_port(name, port) for port in value]
            else:
                raise UntranslatableError("a swarm has no counterpart, or none is known here")
    except UntranslatableError as error:
        raise UntranslatableError(f"services.{name}.{key}: {error}.") from None
    found.update(_process(service))
    if references := secret_references(service, context.secrets):
        found["secrets"] = references
    return found


def _process(service: Keys) -> Keys:
    """Return entrypoint and command.

    An empty entrypoint replaces the image's in Compose, but not on a swarm: there the command's
    first word takes its place.
    """
    entrypoint, command = service.get("entrypoint"), service.get("command")
    if entrypoint == [] and command:
        entrypoint, command = command[:1], command[1:]
    both = {"entrypoint": entrypoint, "command": command}
    return {key: value for key, value in both.items() if value}


def secret_references(service: Keys, secrets: Iterable[SecretFile]) -> list[Keys]:
    """Return a Docker secret for each file of the volume that the service's user may read.

    It has the same path, and only that user may read it: on a swarm a service has no
    supplementary groups.
    """
    if not any(volume.get("source") == SECRETS_VOLUME for volume in service.get("volumes", ())):
        return []
    user, _, group = service.get("user", "0:0").partition(":")
    groups = {int(number) for number in (group or "0", *service.get("group_add", ()))}
    return [
        {
            "source": secret.docker_name,
            "target": secret.file,
            "uid": user,
            "gid": group or "0",
            "mode": 0o400,
        }
        for secret in secrets
        if secret.is_readable_by(int(user), groups)
    ]


def escape_templates(value: str) -> str:
    """Return a value that a swarm, which fills in templates, gives to the container unchanged."""
    return value.replace("{{", '{{"{{"}}')


def _environment(found: Keys, value: Mapping[str, Any]) -> None:
    names = [name for name, text in value.items() if text is None]
    if names:
        raise UntranslatableError(f"{', '.join(names)} has no value")
    escaped = {name: escape_templates(str(text)) for name, text in value.items()}
    if NODE_NAME in escaped:
        escaped[NODE_NAME] = "{{.Node.Hostname}}"
    found["environment"] = {**escaped, **found.get("environment", {})}


def _name_server_options(found: Keys, value: list[str]) -> None:
    # The C library reads them from the environment too.
    found.setdefault("environment", {})["RES_OPTIONS"] = " ".join(value)


def _memory(found: Keys, value: Any) -> None:
    _limits(found)["memory"] = str(value)


def _processes(found: Keys, value: Any) -> None:
    _limits(found)["pids"] = int(value)


def _cpus(found: Keys, value: Any) -> None:
    _limits(found)["cpus"] = str(value)


def _limits(found: Keys) -> Keys:
    limits: Keys = found["deploy"].setdefault("resources", {}).setdefault("limits", {})
    return limits


def _health_check(found: Keys, value: Keys) -> None:
    # A swarm stops a container that is unhealthy, which Compose does not. So a node that is
    # overloaded for some seconds must not lose its containers.
    found["healthcheck"] = {**value, "retries": max(PATIENCE, int(value.get("retries", 3)))}


def _restart(found: Keys, value: str) -> None:
    conditions = {
        "no": "none",
        "on-failure": "on-failure",
        "always": "any",
        "unless-stopped": "any",
    }
    condition = conditions.get(value.partition(":")[0])
    if condition is None:
        raise UntranslatableError(f"'{value}' is not known")
    policy: Keys = {"condition": condition}
    if condition != "none":
        policy["delay"] = "1s"
    found["deploy"]["restart_policy"] = policy


def _security(_: Keys, value: list[str]) -> None:
    # A swarm cannot set it for a service, only for the whole engine: docs/many-machines.md.
    others = set(value) - {"no-new-privileges:true", "no-new-privileges"}
    if others:
        raise UntranslatableError(f"{', '.join(sorted(others))} cannot be set for a service")


def _tmpfs(found: Keys, value: list[str] | str) -> None:
    for entry in [value] if isinstance(value, str) else value:
        target, _, options = entry.partition(":")
        pairs = dict(option.partition("=")[::2] for option in options.split(",") if option)
        # A swarm sets neither owner nor mode: everybody may write, as in /tmp.
        unknown = set(pairs) - {"size", "uid", "gid", "mode"}
        if unknown:
            raise UntranslatableError(
                f"option {', '.join(sorted(unknown))} of {target} is not known"
            )
        _add_tmpfs(found, target, pairs.get("size"))


def _shared_memory(found: Keys, value: Any) -> None:
    _add_tmpfs(found, "/dev/shm", str(value))


def _add_tmpfs(found: Keys, target: str, size: str | None) -> None:
    mount: Keys = {"type": "tmpfs", "target": target}
    if size:
        mount["tmpfs"] = {"size": in_bytes(size)}
    found.setdefault("volumes", []).append(mount)


def in_bytes(size: str) -> int:
    """Return a size such as ``8m`` in bytes."""
    units = {"k": 10, "m": 20, "g": 30}
    number, shift = (
        (size[:-1], units[size[-1].lower()]) if size[-1:].lower() in units else (size, 0)
    )
    if not number.isdecimal():
        raise UntranslatableError(f"the size '{size}' is not known")
    return int(number) << shift


def _volumes(found: Keys, value: list[Keys]) -> None:
    for volume in value:
        if volume.get("source") == SECRETS_VOLUME:
            continue
        if volume["type"] != "volume":
            raise UntranslatableError(
                f"{volume.get('source', volume['target'])} is of type {volume['type']}: use a "
                "named volume, because the files of one machine are not on the others"
            )
        unknown = set(volume) - {"type", "source", "target", "read_only", "volume"}
        if unknown or "source" not in volume:
            raise UntranslatableError(f"the volume at {volume['target']} is not a plain named one")
        found.setdefault("volumes", []).append({k: v for k, v in volume.items() if v != {}})


def _networks(found: Keys, value: Mapping[str, Keys | None]) -> None:
    for name, options in value.items():
        unknown = set(options or ()) - {"aliases"}
        if unknown:
            raise UntranslatableError(f"{', '.join(sorted(unknown))} of {name} is not known")
    found["networks"] = dict(value)


def _network_mode(found: Keys, value: str) -> None:
    if value != "none":
        raise UntranslatableError(f"'{value}' is not possible on a swarm")
    # A swarm has no such mode: this network has no route to the outside, and no other services.
    found["networks"] = {ISOLATED: None}


def _deploy(found: Keys, value: Keys) -> None:
    merge(found["deploy"], value)


def merge(target: Keys, other: Mapping[str, Any]) -> None:
    """Write the values of ``other`` into ``target``, key by key down the tree."""
    for key, value in other.items():
        if isinstance(value, Mapping):
            if value:
                merge(target.setdefault(key, {}), value)
        elif value is not None:
            target[key] = value


def _port(service: str, port: Keys) -> Keys:
    if service != PUBLISHED:
        raise UntranslatableError(f"only {PUBLISHED} is published on a swarm")
    unknown = set(port) - {"mode", "host_ip", "target", "published", "protocol", "name"}
    if unknown:
        raise UntranslatableError(f"{', '.join(sorted(unknown))} is not known")
    # On the node itself: the mesh of a swarm hides the visitor's address.
    return {
        "target": port["target"],
        "published": int(port["published"]),
        "protocol": port.get("protocol", "tcp"),
        "mode": "host",
    }


RULES: dict[str, Callable[[Keys, Any], None]] = {
    "cpus": _cpus,
    "deploy": _deploy,
    "dns_opt": _name_server_options,
    "environment": _environment,
    "healthcheck": _health_check,
    "mem_limit": _memory,
    "network_mode": _network_mode,
    "networks": _networks,
    "pids_limit": _processes,
    "restart": _restart,
    "security_opt": _security,
    "shm_size": _shared_memory,
    "tmpfs": _tmpfs,
    "volumes": _volumes,
}
