"""The variables that nginx's entrypoint derives from the settings and the network."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "nginx/entrypoint.d/16-edge.envsh"
LIMIT = "EDGE_MAX_LARGE_BODIES"


def source(**settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", f". {SCRIPT}; env"],
        env={"PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def variable(name: str, **settings: str) -> str:
    done = source(**settings)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition(f"{name}=")[2].partition("\nEDGE_")[0].strip()


def gateways() -> list[str]:
    rows = [row.split() for row in Path("/proc/net/route").read_text().splitlines()[1:]]
    default = [row[2] for row in rows if row[1] == "00000000"]
    return [socket.inet_ntoa(struct.pack("<I", int(gateway, 16))) for gateway in default]


@pytest.mark.parametrize(
    ("size", "bodies"),
    [("1m", "512"), ("1k", "512"), ("200m", "10"), ("209715200", "10"), ("5G", "4")],
)
def test_as_many_large_bodies_are_accepted_as_fit_on_the_disk(size: str, bodies: str) -> None:
    assert source(MAX_BODY=size).stdout.split().count(f"{LIMIT}={bodies}") == 1


def test_the_gateway_is_an_address_that_many_share() -> None:
    shared = variable("EDGE_SHARED_ADDRESSES")
    for gateway in gateways():
        assert f"{gateway} 1;" in shared


def test_with_one_trusted_proxy_none_in_front_of_nginx_is_trusted() -> None:
    assert "set_real_ip_from" not in source(PROXY_FROM="192.0.2.7").stdout


def test_a_proxy_on_this_machine_comes_from_the_gateway() -> None:
    for bind in ("127.0.0.1", "[::1]"):
        output = source(TRUSTED_PROXIES="2", HTTP_BIND=bind).stdout
        for gateway in gateways():
            assert f"set_real_ip_from {gateway};" in output


def test_only_named_proxies_are_trusted() -> None:
    ranges = "192.0.2.7, 10.0.0.0/24,2001:db8::/32 "
    output = source(TRUSTED_PROXIES="2", PROXY_FROM=ranges, HTTP_BIND="0.0.0.0").stdout
    assert output.count("set_real_ip_from") == 3
    for one in ("192.0.2.7", "10.0.0.0/24", "2001:db8::/32"):
        assert f"set_real_ip_from {one};" in output
        assert f"{one} 1;" in output
    assert "EDGE_REAL_IP_RECURSIVE=off" in output
    several = source(TRUSTED_PROXIES="3", PROXY_FROM=ranges).stdout
    assert "EDGE_REAL_IP_RECURSIVE=on" in several


def test_a_second_proxy_without_its_address_stops_the_start() -> None:
    done = source(TRUSTED_PROXIES="2", HTTP_BIND="0.0.0.0")
    assert done.returncode == 1
    assert "Set PROXY_FROM in .env" in done.stderr


def test_another_apps_pages_are_not_taken_for_the_demos_login() -> None:
    assert "EDGE_LOGIN_PATHS=/login|/register|" in source().stdout
    assert "EDGE_LOGIN_PATHS=(?!)\n" in source(APP_DIR="../shop").stdout


def check_setting(name: str, value: str) -> tuple[str, str]:
    """Return the value that nginx gets for a setting, and what is said about it."""
    script = SCRIPT.with_name("16-check-settings.envsh")
    done = subprocess.run(
        ["sh", "-euc", f'. {script}; echo "${name}"'],
        env={"PATH": "/usr/bin:/bin", name: value, "LOG_FORMAT": "text"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("networks", "used"),
    [
        ("192.0.2.7, 10.0.0.0/24,2001:db8::/32", True),
        ("::1", True),
        ("::ffff:192.0.2.7/128", True),
        ("fd6d:6963:726f:1:0:0:0:1", True),
        ("10.0.0.300", False),
        ("10.0.0.0/33", False),
        ("1.2", False),
        ("2001:db8::/129", False),
        ("12345::1", False),
        ("10.0.0.1,proxy", False),
    ],
)
def test_nginx_gets_no_network_that_it_cannot_read(networks: str, used: bool) -> None:
    checked, message = check_setting("PROXY_FROM", networks)
    assert checked == (networks if used else "")
    assert (f"nginx: PROXY_FROM is '{networks}'" in message) != used


@pytest.mark.parametrize(("size", "used"), [("20m", "20m"), ("5G", "5G"), ("9999999999g", "1m")])
def test_nginx_gets_no_size_that_it_cannot_compute(size: str, used: str) -> None:
    assert check_setting("MAX_BODY", size)[0] == used
