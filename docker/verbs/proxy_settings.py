"""Checks the settings about proxies in front of nginx."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from setting_values import is_loopback, is_number


def proxy_problems(values: Mapping[str, str]) -> list[str]:
    """Return the problems with the proxies in front of nginx."""
    count, ranges = values["TRUSTED_PROXIES"], values["PROXY_FROM"]
    if not is_number(count, 1, 10):
        return [
            f"TRUSTED_PROXIES is '{count}': use 1 for the stack's own nginx, or 2 with a proxy "
            "in front of it, and so on up to 10."
        ]
    problems = []
    for text in re.split("[, ]+", ranges.strip()) if ranges.strip() else ():
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            problems.append(
                f"PROXY_FROM is '{ranges}': {error}. Use addresses or networks, separated by "
                "commas, such as 192.0.2.7,10.0.0.0/24."
            )
    if ranges and count == "1":
        problems.append(
            f"PROXY_FROM is '{ranges}' and TRUSTED_PROXIES is 1, so nothing would be taken from "
            "that proxy. Set TRUSTED_PROXIES=2, or remove PROXY_FROM."
        )
    if not ranges.strip() and count != "1" and not is_loopback(values["HTTP_BIND"]):
        problems.append(
            f"TRUSTED_PROXIES is {count} and PROXY_FROM is not set: everybody who reaches "
            f"HTTP_BIND={values['HTTP_BIND']} could forge an address. Set PROXY_FROM to the "
            "addresses of the proxies in front, such as 192.0.2.7 or 10.0.0.0/24."
        )
    return problems
