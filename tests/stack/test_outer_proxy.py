"""A second proxy in front of nginx: its address, scheme and request id are carried through."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose import Stack, free_port, request, wait_until
from tests.support.neighbour import ask
from tests.support.outer_proxy import outer_proxy
from tests.support.visitor import Visitor

UP = ("docker", "compose", "up", "--detach", "--wait", "--no-build", "--no-deps", "nginx")
FORGED = {
    "X-Forwarded-For": "198.51.100.66",
    "X-Forwarded-Proto": "https",
    "X-Request-ID": "f" * 32,
}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture
def two_proxies(stack: Stack) -> Iterator[Stack]:
    """The stack as it expects another proxy on this machine."""
    stack.run(*UP, TRUSTED_PROXIES="2")
    yield stack
    stack.run(*UP)


def _entries(stack: Stack, identifier: str) -> tuple[str, str]:
    """Return the lines of a request: the app's and nginx's."""

    def lines() -> list[str]:
        printed = stack.make("logs", f"REQUEST={identifier}", check=False).stdout
        found = [line for line in printed.splitlines() if "/drill/exception" in line]
        return found if len(found) >= 2 and " bytes upstream " in found[-1] else []

    found = wait_until(lines, "both lines")
    assert isinstance(found, list)
    return next(line for line in found if " bytes user " in line), found[-1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_visitors_address_scheme_and_id_pass_both_proxies(
    two_proxies: Stack, tmp_path: Path, scheme: str
) -> None:
    ports = (free_port(), free_port())
    target = f"127.0.0.1:{two_proxies.http_port}"
    with outer_proxy(two_proxies, tmp_path, "host", target, ports):
        # Another loopback address than that from which the outer proxy connects.
        source = ("127.0.0.2", 0)
        connection: http.client.HTTPConnection
        if scheme == "https":
            trusted = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
            connection = http.client.HTTPSConnection(
                "127.0.0.1", ports[1], source_address=source, context=trusted
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", ports[0], source_address=source)
        connection.request("POST", "/drill/exception", headers=FORGED | TRACED)
        answer = connection.getresponse()
        page = answer.read().decode()
        connection.request("GET", "/uuid/explore" if scheme == "http" else "/explore")
        other = connection.getresponse()
        other.read()
        connection.close()
    assert answer.status == 500
    identifier = answer.headers["X-Outer-Request-ID"]
    assert identifier != FORGED["X-Request-ID"]
    assert answer.headers.get_all("X-Request-ID") == [identifier]
    assert identifier in page
    for line in _entries(two_proxies, identifier):
        assert "127.0.0.2" in line
        assert "198.51.100.66" not in line
    mail = two_proxies.mail_of(identifier).as_string()
    body = two_proxies.mail_of(identifier).get_body(("plain",))
    assert body is not None
    assert "127.0.0.2" in body.get_content()
    assert f"{scheme}://127.0.0.1:" in body.get_content()
    assert re.search(rf"Trace id\W+{TRACE}", body.get_content())
    assert "198.51.100.66" not in mail
    assert re.fullmatch("[0-9a-f]{32}", other.headers["X-Request-ID"])
    # An id that does not have our form is replaced.
    is_same = other.headers["X-Request-ID"] == other.headers["X-Outer-Request-ID"]
    assert is_same == (scheme == "https")


def test_cookies_are_secure_where_tls_ends_at_the_outer_proxy(
    two_proxies: Stack, tmp_path: Path
) -> None:
    ports = (free_port(), free_port())
    target = f"127.0.0.1:{two_proxies.http_port}"
    with outer_proxy(two_proxies, tmp_path, "host", target, ports):
        for scheme, port in zip(("http", "https"), ports, strict=True):
            visitor = Visitor(f"{scheme}://127.0.0.1:{port}")
            visitor.register(f"behind.{scheme}")
            assert "Log out" in visitor.log_in(f"behind.{scheme}", remember_me="y").text
            cookies = list(visitor.cookies)
            assert len(cookies) >= 3
            for cookie in cookies:
                is_secure = scheme == "https"
                assert cookie.secure == cookie.name.startswith("__Host-") == is_secure
                assert cookie.path == "/"
            assert "Log out" in visitor.open("/explore").text
            assert "Log out" not in visitor.open("/logout", csrf_token=visitor.token("/")).text


def test_only_the_outer_proxy_sets_address_scheme_id_and_trace(two_proxies: Stack) -> None:
    headers = FORGED | TRACED
    sent = ["Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    printed = ask(two_proxies, "/drill/exception", *sent, method="POST")
    (identifier,) = re.findall("X-Request-ID: ([0-9a-f]{32})", printed)
    assert identifier != FORGED["X-Request-ID"]
    for line in _entries(two_proxies, identifier):
        assert "198.51.100.66" not in line
    body = two_proxies.mail_of(identifier).get_body(("plain",))
    assert body is not None
    assert "https://" not in body.get_content()
    assert TRACE not in body.get_content()


def test_a_whole_ipv6_network_counts_as_one_client(two_proxies: Stack) -> None:
    def ask_from(address: str) -> int:
        headers = {"X-Forwarded-For": address}
        return request(f"{two_proxies.url}/login", form={}, headers=headers).status

    statuses = Counter(ask_from(f"2001:db8:0:1:{part:x}::{part:x}") for part in range(1, 41))
    assert set(statuses) == {400, 429}
    assert ask_from("2001:db8:0:2::1") == 400
    assert ask_from("203.0.113.7") == 400


def test_proxy_from_may_name_the_network_of_a_proxy_in_a_container(
    stack: Stack, tmp_path: Path
) -> None:
    network = f"{stack.project}_front"
    inspect = ["docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}"]
    subnet = stack.run(*inspect, network).stdout.strip()
    stack.run(*UP, TRUSTED_PROXIES="2", PROXY_FROM=f"192.0.2.1, {subnet}", HTTP_BIND="127.0.0.1")
    try:
        with outer_proxy(stack, tmp_path, network, "nginx:8080", (8088, 8443)) as name:
            curl = ["docker", "exec", name, "curl", "--silent", "--include", "--data", ""]
            for key, value in FORGED.items():
                curl += ["--header", f"{key}: {value}"]
            printed = stack.run(*curl, "http://127.0.0.1:8088/drill/exception").stdout
        (identifier,) = re.findall("X-Outer-Request-ID: ([0-9a-f]{32})", printed)
        for line in _entries(stack, identifier):
            assert " 127.0.0.1 " in line, "the address that the outer proxy has seen"
    finally:
        stack.run(*UP)


def test_two_proxies_without_their_addresses_stop_the_start(stack: Stack) -> None:
    settings = {"TRUSTED_PROXIES": "2", "HTTP_BIND": "0.0.0.0", "DRILL": "0"}
    done = stack.make("up", check=False, **settings)
    assert done.returncode != 0
    assert "Set PROXY_FROM to the addresses of the proxies in front" in done.stderr
    assert "Building" not in done.stdout
    docker = ["docker", "run", "--rm", "--tmpfs", "/etc/nginx/conf.d:uid=101"]
    docker += [f"--env={name}={value}" for name, value in settings.items()]
    nginx = subprocess.run(
        [*docker, f"{stack.project}-nginx"], capture_output=True, text=True, check=False, timeout=60
    )
    assert nginx.returncode != 0
    assert "PROXY_FROM" in nginx.stderr
    assert stack.is_healthy()
