"""The connection to PostgreSQL: it gives up soon, and does not try at every call."""

from __future__ import annotations

import socket
import time

import pytest

from flask_mayday.agreement import connection as module
from flask_mayday.agreement.connection import Connection, UnreachableError
from flask_mayday.settings import AgreementSettings
from tests.support.compose import free_port


def connection_to(port: int) -> Connection:
    return Connection(AgreementSettings(f"postgresql://nobody@127.0.0.1:{port}/x", node="one"))


def test_a_server_that_refuses_counts_as_down_at_once() -> None:
    connection = connection_to(1)
    with pytest.raises(UnreachableError, match="refused"):
        connection.call("SELECT 1")
    assert connection.unreachable_since == pytest.approx(time.time(), abs=10)
    assert "refused" in connection.reason


def test_a_server_that_never_answers_counts_as_down_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CALL_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connection_to(silent.getsockname()[1])
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="no reply"):
            connection.call("SELECT 1")
    assert time.monotonic() - begun < 10


def test_while_it_is_down_calls_fail_without_connecting() -> None:
    port = free_port()
    connection = connection_to(port)
    with pytest.raises(UnreachableError):
        connection.call("SELECT 1")
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.2)
        with pytest.raises(UnreachableError):
            connection.call("SELECT 1")
        with pytest.raises(TimeoutError):
            server.accept()
