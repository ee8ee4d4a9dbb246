"""Which hosts may connect to gunicorn: those that ``WEB_PEERS`` names, and this machine.

The app believes the headers with the client's address and the request id, whoever connects. Usually
a firewall or the listening address decides who can. But in the stack, web containers are in several
networks, and a container that starts does not have its address in nginx's network yet, so gunicorn
cannot listen at that address only.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ..settings import is_loopback

MAX_AGE: Final = 5.0  # seconds after which the names are resolved again
MIN_AGE: Final = 0.05  # seconds between two look-ups for unknown addresses
# With this option, closing a connection resets it, as if no server listened.
RESET: Final = struct.pack("ii", 1, 0)


def addresses_of(name: str) -> set[str]:
    """Return the addresses of a host name, none if it cannot be resolved."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


class Peers:
    """The hosts that may connect: those in ``names``, or all if there are none.

    ``names`` are host names or addresses; ``resolve`` returns the addresses of a name. For an
    unknown address, names are resolved in the calling thread, otherwise in the background.
    """

    def __init__(
        self, names: tuple[str, ...], resolve: Callable[[str], set[str]] = addresses_of
    ) -> None:
        self.names = names
        self.resolve = resolve
        self._known: set[str] = set()
        self._resolved_at = float("-inf")  # of time.monotonic

    def allow(self, address: str) -> bool:
        """Return whether the host at ``address`` may connect."""
        # A listening address of [::] shows clients of IPv4 in this form.
        address = address.removeprefix("::ffff:")
        age = time.monotonic() - self._resolved_at
        if address in self._known:
            if age > MAX_AGE:
                self._resolved_at = time.monotonic()
                with suppress(RuntimeError):  # no thread can be started: the next try is later
                    threading.Thread(target=self._resolve, daemon=True).start()
            return True
        if not self.names or is_loopback(address):
            return True
        if age > MIN_AGE:
            self._resolve()
        return address in self._known

    def _resolve(self) -> None:
        found = set().union(*map(self.resolve, self.names))
        # If the name server does not answer, those who could connect still can.
        self._known = found or self._known
        self._resolved_at = time.monotonic()


class GuardedListener:
    """A listening TCP socket that resets connections from hosts that may not connect."""

    def __init__(self, listener: Any, peers: Peers) -> None:
        self._listener = listener
        self._peers = peers
        self._name = listener.getsockname()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its address, as :meth:`socket.socket.accept`."""
        while True:
            client, address = self._listener.accept()
            if self._peers.allow(address[0]):
                return client, address
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()

    def getsockname(self) -> Any:
        """Return the address that the socket listens on."""
        return self._name
