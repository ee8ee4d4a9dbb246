"""Only the hosts that WEB_PEERS names may connect to gunicorn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flask_mayday.gunicorn import peers
from flask_mayday.gunicorn.peers import GuardedListener, Peers, addresses_of

NGINX, OTHER = "192.0.2.7", "192.0.2.8"


class Names:
    """A name server that knows one name, and counts the questions."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = set(addresses)
        self.questions = 0

    def __call__(self, name: str) -> set[str]:
        assert name == "nginx"
        self.questions += 1
        return self.addresses


def test_without_names_any_client_may_connect() -> None:
    assert Peers(()).allow(OTHER)


def test_only_the_named_host_and_this_machine_may_connect() -> None:
    guard = Peers(("nginx",), Names(NGINX))
    assert guard.allow(NGINX)
    assert not guard.allow(OTHER)
    assert guard.allow("127.0.0.1")
    assert guard.allow("::1")


def test_a_client_of_ipv4_is_known_on_a_listener_of_ipv6() -> None:
    guard = Peers(("nginx",), Names(NGINX))
    assert guard.allow(f"::ffff:{NGINX}")
    assert guard.allow("::ffff:127.0.0.1")
    assert not guard.allow(f"::ffff:{OTHER}")


def test_an_address_counts_as_a_name() -> None:
    guard = Peers((NGINX,), addresses_of)
    assert guard.allow(NGINX)
    assert not guard.allow(OTHER)


def test_a_new_address_is_found_at_once_and_an_old_one_forgotten(
    monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    names = Names(OTHER)
    guard = Peers(("nginx",), names)
    assert guard.allow(OTHER)
    names.addresses = {NGINX}
    monkeypatch.setattr(peers, "MIN_AGE", 0)
    assert guard.allow(NGINX)
    assert not guard.allow(OTHER)
    names.addresses = {OTHER}
    monkeypatch.setattr(peers, "MAX_AGE", 0)
    guard.allow(NGINX)
    monkeypatch.setattr(peers, "MIN_AGE", 60)
    wait_until(lambda: not guard.allow(NGINX), "the old address forgotten")


def test_many_unknown_clients_cause_few_name_lookups() -> None:
    names = Names(NGINX)
    guard = Peers(("nginx",), names)
    assert not any(guard.allow(OTHER) for _ in range(1000))
    assert names.questions < 100


def test_an_unresponsive_name_server_blocks_no_known_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names(NGINX)
    guard = Peers(("nginx",), names)
    assert guard.allow(NGINX)
    names.addresses = set()
    monkeypatch.setattr(peers, "MIN_AGE", 0)
    assert not guard.allow(OTHER)
    assert guard.allow(NGINX)


def test_a_known_client_may_connect_when_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    guard = Peers(("nginx",), Names(NGINX))
    assert guard.allow(NGINX)
    monkeypatch.setattr(peers, "MAX_AGE", 0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert guard.allow(NGINX)


def test_an_unknown_client_is_reset_and_the_next_client_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stranger = socket.create_connection(server.getsockname())
        friend = socket.create_connection(server.getsockname())
        guard = Peers(("nginx",), Names(NGINX))
        refused = [True, False]
        guard.allow = lambda address: not refused.pop(0)  # type: ignore[method-assign]
        client, address = GuardedListener(server, guard).accept()
        assert address == friend.getsockname()
        stranger.settimeout(5)
        with pytest.raises(ConnectionResetError):
            stranger.recv(1)
        for connection in (stranger, friend, client):
            connection.close()
