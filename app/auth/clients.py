"""Which limits on failed logins apply to a client: by device, by account or by address."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeSerializer
from werkzeug import Response

from ..cookies import read_cookie, send_cookie
from .throttle import Limit

ALLOWED_PER_ACCOUNT: Final = 5  # failed logins without a delay
ALLOWED_PER_ADDRESS: Final = 20
DEVICE_SECONDS: Final = 180 * 24 * 60 * 60
ROUTES: Final = Path("/proc/net/route")


def limits_of(username: str, user_id: int | None) -> list[Limit]:
    """Return the limits for the current request, which tries to log in as this user.

    A browser that has logged in as this user before has a limit of its own, so that the guesses of
    others do not delay it. All others share a limit per account and one per client address.
    """
    device = _device_of(user_id)
    if device is not None:
        return [Limit(f"device {device}", ALLOWED_PER_ACCOUNT, resets=True)]
    limits = [Limit(f"account {username.lower()}", ALLOWED_PER_ACCOUNT, resets=True)]
    network = _network_of(request.remote_addr)
    if network is not None:
        limits.append(Limit(f"address {network}", ALLOWED_PER_ADDRESS, resets=False))
    return limits


def remember_device(response: Response, user_id: int) -> Response:
    """Set the cookie that later shows that this browser has logged in as this user.

    It does not log the user in, and stays when the user logs out (OWASP: device cookie).
    """
    value = _serializer().dumps([user_id, _device_of(user_id) or secrets.token_hex(8)])
    return send_cookie(response, "device", str(value), DEVICE_SECONDS)


def _device_of(user_id: int | None) -> str | None:
    cookie = read_cookie("device")
    if not cookie:
        return None
    try:
        known_id, device = _serializer().loads(cookie)
    except BadSignature:
        return None
    return str(device) if known_id == user_id else None


def _serializer() -> URLSafeSerializer:
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return URLSafeSerializer(keys, salt="device")


def _network_of(address: str | None) -> IPv4Network | IPv6Network | None:
    """Return the network that a client controls, or ``None`` if many clients share its address.

    Under Docker, all clients that connect through its proxy have the address of the gateway.
    """
    try:
        client = ip_address(address or "")
    except ValueError:
        return None
    client = getattr(client, "ipv4_mapped", None) or client
    if client.is_loopback or str(client) in _routers():
        return None
    return ip_network((client, 32 if client.version == 4 else 64), strict=False)


def _routers() -> Iterator[str]:
    """Yield the gateways' addresses, and the first address of each directly connected network."""
    lines = ROUTES.read_text(encoding="ascii").splitlines()[1:] if ROUTES.exists() else []
    for line in lines:
        _, destination, gateway, *_ = line.split()
        number = int(gateway, 16) or int(destination, 16) + (1 << 24)  # in network byte order
        if number < 1 << 32:  # else the destination ends in 255, and has no next address
            yield socket.inet_ntoa(struct.pack("=L", number))
