"""Sends one HTTP request to an address that an operator has set, and nowhere else.

The host is resolved once, and only an address that may be used is connected to: public ones, and
those that the operator allows. Redirects are not followed, and proxies of the environment are not
used. So the address of a webhook cannot be made to reach a service inside the network.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

REPLY_BYTES: Final = 2000  # of a reply's body that are read
NAT64: Final = ip_network("64:ff9b::/96")

Network = IPv4Network | IPv6Network


class RefusedAddressError(OSError):
    """The host has no address that may be used."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The reply to a request: ``text`` is the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    text: str


def send_request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    allow: Sequence[Network] = (),
) -> HttpReply:
    """Send a request to ``url`` and return the reply, whatever its status.

    ``timeout`` bounds the whole exchange after the name is resolved, in seconds. Addresses that are
    not public are used only if they are in a network of ``allow``. Raises :exc:`OSError`, which
    includes :exc:`RefusedAddressError`, if there is no reply.
    """
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if is_secure else 80)
    address = allowed_address(host, port, allow)
    context = ssl.create_default_context() if is_secure else None
    connection = DirectConnection(host, port, address, timeout, context)
    overdue = threading.Timer(timeout, connection.abort)
    overdue.daemon = True
    overdue.start()
    try:
        with closing(connection):
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            text = response.read(REPLY_BYTES).decode("utf-8", "replace")
            return HttpReply(response.status, dict(response.getheaders()), text)
    except (HTTPException, ValueError, OSError) as error:
        if connection.is_aborted:
            raise TimeoutError("timed out") from error
        if isinstance(error, OSError):
            raise
        raise OSError(f"The reply is not HTTP: {type(error).__name__}") from error
    finally:
        overdue.cancel()


def allowed_address(host: str, port: int, allow: Sequence[Network]) -> tuple[str, int]:
    """Return the first address of a host that may be used, and the port.

    Raises :exc:`OSError` if there is none, or the host is not found.
    """
    found = [
        str(entry[4][0])
        for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if entry[0] in (socket.AF_INET, socket.AF_INET6)
    ]
    for address in found:
        if is_allowed(ip_address(address), allow):
            return address, port
    shown = ", ".join(dict.fromkeys(found))
    fix = "If that is intended, add its address to WEBHOOK_ALLOW."
    raise RefusedAddressError(f"{host} has no public address ({shown}). {fix}")


def is_allowed(address: IPv4Address | IPv6Address, allow: Sequence[Network]) -> bool:
    """Return whether an address is public or in one of the networks ``allow``."""
    inner = _inner(address)
    if any(one in network for one in {address, inner} for network in allow):
        return True
    return all(one.is_global and not one.is_multicast for one in (address, inner))


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


class DirectConnection(HTTPConnection):
    """A connection to ``address``; ``host`` and ``port`` are for TLS and the ``Host`` header.

    With a ``context``, which decides which certificates are trusted, the connection uses TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        address: tuple[str, int],
        timeout: float,
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self.default_port = 80 if context is None else 443
        self.is_aborted = False
        self._address = address
        self._context = context
        self._plain: socket.socket | None = None

    def connect(self) -> None:
        """Connect, with TLS if there is a context for it."""
        self._plain = self.sock = socket.create_connection(self._address, self.timeout)
        if self.is_aborted:  # abort() came before there was a socket that it could shut down
            raise TimeoutError("timed out")
        if self._context is not None:
            self.sock = self._context.wrap_socket(self._plain, server_hostname=self.host)

    def abort(self) -> None:
        """Make the exchange fail, from another thread."""
        self.is_aborted = True
        for one in (self.sock, self._plain):
            if one is not None:
                try:
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
                except OSError:
                    continue  # it is closed already
