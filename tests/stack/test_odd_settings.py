"""Settings that are written oddly, but can be used, mean the same to every program."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, end, request, wait_until

# MailHog under another name is a mail server of which the drill knows only what the spool says.
OTHER_MAIL_SERVER = """\
services:
  mailhog:
    networks: {mail: {aliases: [smtp.example.org]}}
"""
ODD = {
    "HTTP_BIND": "[::1]",
    "MAX_BODY": " 2m",
    "WEB_THREADS": "\t3 ",
    "DRILL": "True ",
    "LOG_FORMAT": " JSON",
    "MAIL_SERVER": " smtp.example.org ",
    "MAIL_PORT": "1025",
    "MAIL_USE_TLS": "OFF ",
    "ENVIRONMENT": "staging",
    "RELEASE": "v2",
}


@pytest.fixture(scope="module")
def odd_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose settings are written oddly, started by plain Compose."""
    stack = Stack(f"{PROJECT}-odd", clone_checkout(tmp_path_factory.mktemp("odd") / "clone"), ODD)
    (stack.directory / "compose.override.yaml").write_text(OTHER_MAIL_SERVER)
    stack.remove()
    stack.up("--build")
    yield stack
    end(stack)


START_NGINX = ("docker", "compose", "up", "--detach", "--no-deps", "--wait", "nginx")


def start_nginx(stack: Stack, **settings: str) -> str:
    """Start nginx alone, with other settings; return its log."""
    stack.run(*START_NGINX, **settings)
    return stack.compose("logs", "nginx")


def site(stack: Stack) -> str:
    return f"http://[::1]:{stack.http_port}"


def test_every_program_takes_the_same_values(odd_stack: Stack) -> None:
    assert request(f"{site(odd_stack)}/explore").status == 200
    configured = odd_stack.shell("nginx", "cat /etc/nginx/conf.d/*.conf")
    assert "client_max_body_size 2m;" in configured

    before = odd_stack.compose("ps", "--quiet")
    assert site(odd_stack) in odd_stack.make("up").stdout
    assert odd_stack.compose("ps", "--quiet") == before


def test_a_line_of_nginx_is_json_whatever_bytes_a_visitor_sends(odd_stack: Stack) -> None:
    sent = {
        b"/\xff\xfe": "/...",
        "/caf\N{LATIN SMALL LETTER E WITH ACUTE}/".encode(): "/caf...",
        b"/b" + "\N{LATIN SMALL LETTER E WITH ACUTE}".encode() * 200: "/b...",
        b'/a"b\\c%FF': '/a"b\\c%FF',
    }
    for path in sent:
        with socket.create_connection(("::1", odd_stack.http_port), timeout=60) as client:
            client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass

    def logged() -> set[str]:
        lines = odd_stack.run("docker", "logs", *odd_stack.containers("nginx")).stdout.splitlines()
        return {json.loads(line)["url.path"] for line in lines}

    wait_until(lambda: set(sent.values()) <= logged(), "the lines of nginx")


def test_the_drill_asks_the_spool_for_a_mail_that_another_server_has_accepted(
    odd_stack: Stack,
) -> None:
    drilled = odd_stack.make("drill").stdout
    assert " s  mail  accepted by smtp.example.org at " in drilled
    assert "s after the error: [Microblog staging] DrillError: " in drilled
    assert " ERROR: Exception on /drill/exception [POST]\n" in drilled
    assert "[Microblog staging] DrillError: " in odd_stack.make("mail").stdout


def test_mails_of_two_stacks_to_the_same_administrators_can_be_told_apart(
    odd_stack: Stack, stack: Stack
) -> None:
    form = {"message": "the same"}
    answers = [request(f"{one}/drill/exception", form=form) for one in (site(odd_stack), stack.url)]
    staging, production = (
        one.mail_of(answer.request_id)
        for one, answer in zip((odd_stack, stack), answers, strict=True)
    )
    assert staging["To"] == production["To"]
    assert staging["Subject"].startswith("[Microblog staging] DrillError")
    assert production["Subject"].startswith("[Microblog] DrillError")
    assert staging["From"].addresses[0].display_name == "Microblog staging"
    assert production["From"].addresses[0].display_name == "Microblog"
    assert staging["Message-ID"] != production["Message-ID"]
    for mail, one, release in ((staging, odd_stack, "v2"), (production, stack, "test")):
        text = mail.get_body(("plain",)).get_content()
        assert one.shell("web", "hostname").strip() in text
        assert release in text


def test_nginx_names_an_invalid_value_and_serves_with_the_default(
    odd_stack: Stack,
) -> None:
    said = start_nginx(odd_stack, REQUEST_TIMEOUT="3601", LOG_FORMAT="yaml", MAX_BODY="2MiB")
    assert "REQUEST_TIMEOUT is '3601': use a whole number from 1 to 3600." in said
    assert "LOG_FORMAT is 'yaml': use text or json." in said
    assert "MAX_BODY is '2MiB': use a size in bytes" in said
    assert request(f"{site(odd_stack)}/explore").status == 200

    # Compose itself reads this one, and changes nothing.
    assert odd_stack.run(*START_NGINX, check=False, REQUEST_TIMEOUT="30 ").returncode != 0
    assert request(f"{site(odd_stack)}/explore").status == 200

    wrong = {"REQUEST_TIMEOUT": "30 ", "LOG_LEVEL": "loud", "WEB_THREADS": "0"}
    refused = odd_stack.make("up", check=False, **wrong)
    assert refused.returncode != 0
    assert "REQUEST_TIMEOUT is '30 ': use a whole number from 1 to 3600." in refused.stderr
    assert "LOG_LEVEL is 'loud': use one of debug, info, " in refused.stderr
    assert "WEB_THREADS is '0': use a whole number from 1 to 256." in refused.stderr


def test_the_drill_says_why_a_mail_has_not_been_accepted(odd_stack: Stack) -> None:
    odd_stack.compose("stop", "mailhog")
    done = odd_stack.run("python3", "docker/verbs/drill.py", check=False)
    odd_stack.compose("start", "mailhog")
    assert done.returncode == 1
    assert "The mail is missing: not accepted by smtp.example.org yet: " in done.stderr


@pytest.mark.parametrize(("bind", "host"), [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")])
def test_the_address_of_a_stack_that_listens_everywhere_is_on_loopback(
    stack: Stack, bind: str, host: str
) -> None:
    try:
        start_nginx(stack, HTTP_BIND=bind)
        command = ["python3", "docker/verbs/addresses.py", "nginx", "8080"]
        url = stack.run(*command).stdout.strip()
        assert url == f"http://{host}:{stack.http_port}"
        assert wait_until(lambda: request(f"{url}/explore").status == 200, f"a page at {url}")
    finally:
        start_nginx(stack)


def test_an_address_that_this_machine_does_not_have_is_named(odd_stack: Stack) -> None:
    done = odd_stack.make("up", check=False, HTTP_BIND="192.0.2.1", DRILL="0")
    assert done.returncode != 0
    assert "This machine has no address 192.0.2.1." in done.stderr
