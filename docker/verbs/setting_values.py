"""Checks single values: whether a text is an address, a network or a number."""

from __future__ import annotations

import ipaddress
import re


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address in a text, with brackets around version 6, as Compose requires.

    Return ``None`` for any other text.
    """
    try:
        if text.startswith("[") and text.endswith("]") and "%" not in text:
            return ipaddress.IPv6Address(text[1:-1])
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Return whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def is_ipv6_network(text: str) -> bool:
    """Return whether a text is an IPv6 network, with its prefix length."""
    try:
        ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def is_number(text: str, low: int, high: int) -> bool:
    """Return whether a text is a whole number in a range, without sign, spaces or leading zeros."""
    return re.fullmatch(r"0|[1-9][0-9]{0,17}", text) is not None and low <= int(text) <= high
