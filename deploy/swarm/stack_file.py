"""Writes stack files for ``docker stack deploy`` from Compose's model, in stages.

Usage: ``stack_file.py FOLDER [NODE]``. FOLDER holds ``model``, the output of ``docker compose
config --format json``, ``images``, that of image_names.py, and ``secrets``, that of
secret_files.py. It writes the files ``1.json`` and so on there, to be deployed in turn, and prints
each file and its services. With NODE, the id of a node, the site is published on that node only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from placement import OMITTED_SERVICES, place, with_volumes_only
from secret_files import SecretFile
from translation import ISOLATED, Context, Keys, UntranslatableError, translate

# The secrets of a model are those of the builds.
KNOWN_KEYS = frozenset(("name", "services", "networks", "volumes", "secrets", "configs"))
KNOWN_NETWORK_KEYS = frozenset(
    ("name", "internal", "driver_opts", "ipam", "enable_ipv6", "external", "labels")
)
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
# Variables that containers have on a swarm only. There the name web.inner resolves only to healthy
# containers, so a starting one cannot look up the address on which to open STATUS_PORT.
ENVIRONMENT = {"web": {"STATUS_ADDRESS": "0.0.0.0"}}


def main(folder: Path, edge_node: str = "") -> int:
    """Write the stages, or print what cannot be translated and return 1."""
    model, images, given = (
        json.loads((folder / name).read_text()) for name in ("model", "images", "secrets")
    )
    secrets = tuple(SecretFile(**secret) for secret in given["secrets"])
    try:
        services = services_of(model, Context(images, secrets), edge_node)
        for name, kept in given["kept_secrets"].items():
            if name in services and _tag(services[name]["image"]) == _tag(kept["image"]):
                services[name]["secrets"] = kept["secrets"]
        common = {"networks": networks_of(model), "volumes": volumes_of(model)}
        for number, stage in enumerate(stages(model["services"]), 1):
            path = folder / f"{number}.json"
            chosen = {name: services[name] for name in stage}
            path.write_text(json.dumps(with_resources(chosen, common, model), indent=1))
            print(path, *stage)
    except UntranslatableError as error:
        print(f"error: {error} See docs/many-machines.md.", file=sys.stderr)
        return 1
    return 0


def _tag(image: str) -> str:
    """Return an image's name without the digest that an engine has added."""
    return image.partition("@")[0]


def services_of(model: Keys, context: Context, edge_node: str = "") -> dict[str, Keys]:
    """Return every service as the stack files have it."""
    found = {}
    for name, service in model["services"].items():
        if name in OMITTED_SERVICES:
            continue
        source = with_volumes_only(service) if name == "init" else dict(service)
        source["environment"] = {**service.get("environment", {}), **ENVIRONMENT.get(name, {})}
        source["configs"] = [c for c in service.get("configs", ()) if _has_content(c, model)]
        found[name] = place(name, translate(name, source, context), model["name"], edge_node)
    return found


def _has_content(config: Keys, model: Keys) -> bool:
    # An empty file stands for a setting without a value, and a Docker config cannot be empty.
    return bool(Path(model["configs"][config["source"]]["file"]).read_bytes())


def stages(services: Mapping[str, Keys]) -> list[list[str]]:
    """Return the services in stages: each depends only on those of earlier stages.

    The service watch comes last, so that it does not report a site that is starting as down.
    """
    left = {
        name: set(service.get("depends_on", {}))
        for name, service in services.items()
        if name not in OMITTED_SERVICES
    }
    if "watch" in left:
        left["watch"] = set(left) - {"watch"}
    found: list[list[str]] = []
    while left:
        stage = sorted(name for name, others in left.items() if not others & set(left))
        if not stage:
            raise UntranslatableError(f"services: {', '.join(sorted(left))} depend on each other.")
        found.append(stage)
        for name in stage:
            del left[name]
    return found


def networks_of(model: Keys) -> dict[str, Keys]:
    """Return the networks, as overlay networks."""
    found = {
        name: _network(name, network or {}, model)
        for name, network in model.get("networks", {}).items()
    }
    found[ISOLATED] = {"internal": True}
    return found


def _network(name: str, network: Keys, model: Keys) -> Keys:
    if "enable_ipv6" in network:  # overlay networks have IPv4 only
        network = {key: network[key] for key in network if key not in ("enable_ipv6", "ipam")}
    unknown = set(network) - KNOWN_NETWORK_KEYS
    options = dict(network.get("driver_opts") or {})
    # Both mean that there is no route to the outside.
    internal = network.get("internal") or options.pop(MASQUERADE, "true") == "false"
    unknown |= {option for option in options if option.startswith("com.docker.network.bridge.")}
    if unknown:
        raise UntranslatableError(f"networks.{name}: {', '.join(sorted(unknown))} is not known.")
    found = {
        key: value
        for key, value in network.items()
        if key in ("external", "ipam", "labels") and value
    }
    subnets = (network.get("ipam") or {}).get("config", [])
    if any(":" in subnet.get("subnet", "") for subnet in subnets):
        del found["ipam"]  # with enable_ipv6: the nodes' ports take IPv6, the overlay does not
    if internal:
        found["internal"] = True
    if options:
        found["driver_opts"] = options
    return {**found, **_own_name(name, network, model)}


def volumes_of(model: Keys) -> dict[str, Keys]:
    """Return the volumes: each node has its own."""
    found = {}
    for name, volume in model.get("volumes", {}).items():
        others = {key: value for key, value in (volume or {}).items() if key != "name"}
        found[name] = {**others, **_own_name(name, volume or {}, model)}
    return found


def _own_name(name: str, resource: Keys, model: Keys) -> Keys:
    """Return the name of a resource, if it differs from the one that the stack gives it."""
    given = resource.get("name", "")
    return {} if given in ("", f"{model['name']}_{name}") else {"name": given}


def with_resources(services: dict[str, Keys], common: Keys, model: Keys) -> Keys:
    """Return a stack file with some services and what they use."""
    unknown = {key for key in model if not key.startswith("x-")} - KNOWN_KEYS
    if unknown:
        raise UntranslatableError(f"{', '.join(sorted(unknown))}: no counterpart is known.")
    networks = {name for service in services.values() for name in service.get("networks", ())}
    volumes = {
        v["source"]
        for s in services.values()
        for v in s.get("volumes", ())
        if v["type"] == "volume"
    }
    secrets = {s["source"] for service in services.values() for s in service.get("secrets", ())}
    configs = {c["source"] for service in services.values() for c in service.get("configs", ())}
    found: Keys = {
        "services": services,
        "networks": {name: common["networks"][name] for name in sorted(networks)},
        "volumes": {name: common["volumes"][name] for name in sorted(volumes)},
        "secrets": {name: {"external": True, "name": name} for name in sorted(secrets)},
        "configs": {name: config_of(name, model) for name in sorted(configs)},
    }
    return {key: value for key, value in found.items() if value}


def config_of(name: str, model: Keys) -> Keys:
    """Return a file as a Docker config, whose name changes with it: a config cannot be changed."""
    path = Path(model["configs"][name]["file"])
    version = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return {"file": str(path), "name": f"{model['name']}_{name}_{version}"}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
