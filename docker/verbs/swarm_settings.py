"""Checks the settings of `make swarm-up`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from setting_values import address

# Host, port and folders, as in the name of an image.
REGISTRY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9._-]+)*")


def problems(values: Mapping[str, str]) -> list[str]:
    """Return the problems with the settings about the swarm and its registry."""
    found = []
    if values["SWARM"] not in ("", "existing"):
        found.append(f"SWARM is '{values['SWARM']}': set it to existing, or leave it empty.")
    if address(values["SWARM_ADDR"]) is None:
        found.append(
            f"SWARM_ADDR is '{values['SWARM_ADDR']}', which is not an IP address. Set it to the "
            "address at which the other nodes reach this one, or to 127.0.0.1."
        )
    if values["REGISTRY"] and not REGISTRY.fullmatch(values["REGISTRY"]):
        found.append(
            f"REGISTRY is '{values['REGISTRY']}': write the registry's host, its port and a folder "
            "without a scheme, such as registry.example:5000/blog."
        )
    return found
