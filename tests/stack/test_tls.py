"""The stack over HTTPS, with a certificate that it obtains from an ACME authority of the tests."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.test_pages import CASES, PATIENCE, Case, all_well
from tests.stack.test_pages import test_every_client_gets_a_page_of_ours as check_page
from tests.stack.test_path_of_an_error import *  # noqa: F403 (the same tests, over HTTPS)
from tests.support.acme import DOMAIN, acme_stack, authority, served_certificate
from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Answer, Stack, end, request, wait_until
from tests.support.steady_load import steady_load

RENEW = ("acme", "python", "/opt/acme/renewal.py", "now")


@pytest.fixture(scope="module")
def tls_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    clone = clone_checkout(tmp_path_factory.mktemp("tls") / "clone")
    stack = acme_stack(f"{PROJECT}-tls", clone)
    stack.remove()
    stack.make("up")
    yield stack
    end(stack)


@pytest.fixture
def stack(tls_stack: Stack) -> Stack:
    return tls_stack


def http(stack: Stack, path: str, **options: Any) -> Answer:
    return request(f"http://127.0.0.1:{stack.http_port}{path}", **options)


def connect(stack: Stack, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", stack.https_port), timeout=60)
    return context.wrap_socket(connection, server_hostname=DOMAIN)


def test_the_site_has_the_authoritys_certificate_and_speaks_http_2(stack: Stack) -> None:
    context = ssl.create_default_context(cadata=authority(stack))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(stack, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.version() == "TLSv1.3"


@pytest.mark.parametrize(
    "options",
    [
        {"maximum_version": ssl.TLSVersion.TLSv1_1},
        {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES128-SHA:ECDHE-ECDSA-AES128-SHA"},
    ],
    ids=["TLS 1.1", "a cipher without forward secrecy or AEAD"],
)
def test_outdated_tls_versions_and_ciphers_are_refused(
    stack: Stack, options: dict[str, Any]
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(options.get("ciphers", "ALL") + ":@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = options["maximum_version"]
    with pytest.raises(ssl.SSLError, match="alert"), connect(stack, context):
        pass


def test_the_address_of_an_ipv6_visitor_reaches_the_app(stack: Stack) -> None:
    network = f"{stack.project}_front"
    inspect = ["docker", "network", "inspect", "--format", "{{.EnableIPv6}}", network]
    assert stack.run(*inspect).stdout.strip() == "true"
    found = stack.shell("nginx", "grep -oE '^fd[0-9a-f]{30}' /proc/net/if_inet6").strip()
    curl = ["docker", "run", "--rm", "--network", network, "--entrypoint", "curl"]
    curl += [f"{stack.project}-nginx", "--silent", "--insecure", "--head"]
    answer = stack.run(*curl, f"https://[{ipaddress.IPv6Address(int(found, 16))}]:8443/explore")
    (identifier,) = re.findall("(?i)x-request-id: ([0-9a-f]{32})", answer.stdout)
    assert " 200" in answer.stdout
    assert "fd6d:" in stack.make("logs", f"REQUEST={identifier}").stdout


def test_http_redirects_to_https_except_the_authoritys_checks(stack: Stack) -> None:
    answer = http(stack, "/explore?page=2&x=%20y")
    assert answer.status == 301
    site = f"https://{DOMAIN}:{stack.https_port}"
    assert answer.header("Location") == f"{site}/explore?page=2&x=%20y"
    assert answer.request_id
    assert answer.header("Strict-Transport-Security") is None
    assert http(stack, "/login", form={"a": "b"}).status == 301
    assert http(stack, "/.well-known/acme-challenge/unknown").status == 404
    on_the_wrong_port = request(f"http://127.0.0.1:{stack.https_port}/explore")
    assert on_the_wrong_port.header("Location") == f"{site}/explore"


def test_cookies_are_for_https_and_this_host_alone(stack: Stack) -> None:
    cookie = stack.get("/login").header("Set-Cookie")
    assert cookie is not None
    assert cookie.startswith("__Host-")
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}


def test_the_app_knows_that_the_scheme_is_https(stack: Stack) -> None:
    answer = stack.drill("exception")
    body = stack.mail_of(answer.request_id).get_body(("plain",))
    assert f"https://127.0.0.1:{stack.https_port}/drill/exception" in body.get_content()  # type: ignore[union-attr]
    same_site = {"Origin": stack.url}
    assert request(f"{stack.url}/drill/exception", form={}, headers=same_site).status == 500


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.condition is all_well and case.within == PATIENCE],
    ids=lambda case: case.name,
)
def test_every_client_gets_a_page_of_ours_over_https(stack: Stack, case: Case) -> None:
    check_page(stack, [case], lambda *_: None)


def test_a_renewal_fails_no_request_and_then_hsts_is_for_a_year(stack: Stack) -> None:
    before = served_certificate(stack)
    assert stack.get("/explore").header("Strict-Transport-Security") == "max-age=86400"
    with steady_load(lambda: stack.get("/explore").status) as outcomes:
        wait_until(lambda: outcomes[200] > 5, "pages before the renewal")
        stack.execute(*RENEW)
        wait_until(lambda: served_certificate(stack) != before, "the new certificate")
        seen = outcomes.total()
        wait_until(lambda: outcomes.total() > seen + 20, "pages after the renewal")
    assert outcomes == {200: outcomes.total()}
    answer = stack.get("/explore")
    assert answer.header("Strict-Transport-Security") == "max-age=31536000"
    assert stack.get("/nothing-here").header("Strict-Transport-Security") == "max-age=31536000"


def test_only_nginx_reads_the_key_and_only_acme_the_account(
    stack: Stack,
) -> None:
    mode = stack.shell("nginx", "stat -c '%u %a' /run/tls/certificate.pem")
    assert mode == "101 400\n"
    assert stack.shell("nginx", "ls /var/lib/acme 2>/dev/null | wc -l") == "0\n"
    container: Any = stack.inspect("acme")
    assert container["HostConfig"]["ReadonlyRootfs"]
    assert container["HostConfig"]["CapDrop"] == ["ALL"]


def test_a_domain_publishes_only_the_site_and_turns_drills_off(stack: Stack) -> None:
    own = ("HTTP_BIND", "HTTP_PORT", "HTTPS_PORT", "DRILL", "COMPOSE_PROFILES")
    unset = dict.fromkeys(own, "")
    printed = stack.run("docker", "compose", "config", "--format", "json", **unset).stdout
    services = json.loads(printed)["services"]
    published = {
        (name, port.get("host_ip", "every address"), port["published"])
        for name, service in services.items()
        for port in service.get("ports", [])
    }
    assert published == {("nginx", "every address", "80"), ("nginx", "every address", "443")}
    assert "mailhog" not in services
    assert services["web"]["environment"]["MAYDAY_DRILL"] == "0"
    assert services["web"]["environment"]["MAYDAY_HTTP_BIND"] == "0.0.0.0"


@pytest.mark.parametrize("command", [("make", "up"), ("docker", "compose", "up", "init")])
def test_make_up_stops_if_error_mails_would_reach_nobody(
    stack: Stack, command: tuple[str, ...]
) -> None:
    mail = {"MAIL_SERVER": "mailhog", "ADMINS": "admin@microblog.example"}
    done = stack.run(*command, check=False, **mail)
    said = done.stdout + done.stderr
    assert f"DOMAIN is {DOMAIN}, but MAIL_SERVER is mailhog" in said
    assert f"    MAIL_SERVER=smtp.{DOMAIN}" in said
    assert f"    ADMINS=you@{DOMAIN}" in said
    assert "Building" not in said
