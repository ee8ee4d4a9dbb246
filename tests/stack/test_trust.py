"""Which part may speak to which: only nginx to web, and no page from elsewhere to MailHog."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator

import pytest

from tests.support.compose import Stack, request, wait_until
from tests.support.neighbour import command

CONNECT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
connection.sendall(b"GET %s HTTP/1.0\\r\\nX-Request-ID: %s\\r\\n\\r\\n" %
                   (sys.argv[3].encode(), b"f" * 32))
answer = b""
while part := connection.recv(65536):
    answer += part
print(answer.decode())
"""


def _ask_web(stack: Stack, network: str, name: str, port: int, path: str = "/explore") -> str:
    """Return what web answers to a container in a network, empty if it cannot connect."""
    arguments = command(stack, network, CONNECT, name, str(port), path)
    return stack.run(*arguments, check=False).stdout


@pytest.mark.parametrize("network", ["front", "back", "mail", "inner"])
def test_only_nginx_reaches_the_port_that_trusts_headers(stack: Stack, network: str) -> None:
    assert _ask_web(stack, network, "web", 8000) == ""


@pytest.mark.parametrize("network", ["front", "back", "mail"])
def test_the_status_port_is_in_a_network_of_its_own(stack: Stack, network: str) -> None:
    assert _ask_web(stack, network, "web", 8001, "/health/ready") == ""


def test_the_status_port_serves_health_checks_only(stack: Stack) -> None:
    ready = _ask_web(stack, "inner", "web.inner", 8001, "/health/ready")
    assert " 200 OK" in ready
    assert "f" * 32 not in ready
    assert " 404 " in _ask_web(stack, "inner", "web.inner", 8001)


def test_the_database_and_mailhog_do_not_reach_web(stack: Stack) -> None:
    opened = "exec 3<>/dev/tcp/web/8000 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    shell = ("db", "timeout", "5", "bash", "-c", opened)
    assert "HTTP/" not in stack.execute(*shell, check=False)
    sent = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 web 8000"
    assert "HTTP/" not in stack.shell("mailhog", sent, check=False)


def test_web_accepts_requests_of_a_new_nginx_at_once(stack: Stack) -> None:
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", "nginx")
    assert [stack.get("/explore").status for _ in range(20)] == [200] * 20


def _hosts(stack: Stack) -> list[str]:
    return [f"127.0.0.1:{stack.mailhog_port}", f"localhost:{stack.mailhog_port}"]


def test_mailhog_refuses_foreign_host_names(stack: Stack) -> None:
    url = f"{stack.mailhog}/api/v2/messages"
    for host in _hosts(stack):
        assert request(url, headers={"Host": host}).status == 200
        assert request(url, headers={"Origin": f"http://{host}"}).status == 200
        assert request(url, headers={"Host": f"evil.example:{stack.mailhog_port}"}).status == 403
    for host in ("evil.example", "127.0.0.1", f"127.0.0.1.evil.example:{stack.mailhog_port}"):
        assert request(url, headers={"Host": host}).status == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", stack.url):
        assert request(url, headers={"Origin": origin}).status == 403


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("null", 403), (None, 101), ("own", 101)]
)
def test_pages_of_other_sites_open_no_websocket_to_mailhog(
    stack: Stack, origin: str | None, status: int
) -> None:
    sent = f"GET /api/v2/websocket HTTP/1.1\r\nHost: 127.0.0.1:{stack.mailhog_port}\r\n"
    sent += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    sent += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    if origin is not None:
        sent += f"Origin: {stack.mailhog if origin == 'own' else origin}\r\n"
    with socket.create_connection(("127.0.0.1", stack.mailhog_port), timeout=60) as client:
        client.sendall(f"{sent}\r\n".encode())
        assert client.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.fixture
def mailhog_password(stack: Stack) -> Iterator[str]:
    """A password for MailHog, until the end of the test."""
    path = stack.directory / "secrets" / "mailhog_password"
    password = "only the administrators know it"
    try:
        path.write_text(f"{password}\n")
        stack.compose("run", "--rm", "--no-deps", "-T", "init")
        yield password
    finally:
        path.write_text("")
        stack.compose("run", "--rm", "--no-deps", "-T", "init")
        path.unlink()


def test_mailhog_asks_for_the_password_that_is_in_secrets(
    stack: Stack, mailhog_password: str
) -> None:
    url = f"{stack.mailhog}/api/v2/messages"

    def status(login: str, **headers: str) -> int:
        sent = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        return request(url, headers={**sent, **headers}).status

    assert request(url).status == request(f"{stack.mailhog}/").status == 401
    assert status("admin:wrong") == status(f"other:{mailhog_password}") == 401
    assert status(f"admin:{mailhog_password}") == 200
    assert status(f"admin:{mailhog_password}", Host="evil.example") == 403
    assert status(f"admin:{mailhog_password}", Origin="http://evil.example") == 403
    assert "mail  [Microblog] DrillError" in stack.make("drill").stdout
    assert "DrillError" in stack.make("mail").stdout
    shown = stack.shell("mailguard", "cat /tmp/nginx.conf /run/secrets/.mailhog_users")
    assert "admin:$6$" in shown
    assert mailhog_password not in shown + stack.compose("config")

    (stack.directory / "secrets" / "mailhog_password").write_text("forgotten by the operator")
    done = stack.make("mail", check=False)
    assert done.returncode != 0
    assert "requires a password" in done.stderr
    assert "Traceback" not in done.stderr


ECHO = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Set-Cookie", "session=overwritten")
        self.end_headers()
        self.wfile.write(bytes(self.headers))
HTTPServer(("", 8025), Echo).serve_forever()
"""


def test_mailhog_neither_gets_nor_sets_the_cookies_of_the_site(stack: Stack) -> None:
    stack.compose("stop", "mailhog")
    name = f"{stack.project}-echo"
    arguments = command(stack, "mail", ECHO)
    arguments[2:4] = ["--detach", "--name", name, "--network-alias", "mailhog"]
    try:
        stack.run(*arguments)
        cookie = {"Cookie": "session=the-visitors"}

        def echo() -> object:
            answer = request(f"{stack.mailhog}/", headers=cookie)
            return answer if answer.status == 200 else None

        answer = wait_until(echo, "the echo in MailHog's place")
        assert "the-visitors" not in str(answer)
        assert "overwritten" not in str(answer)
        assert re.search("host: 127.0.0.1", str(answer), re.IGNORECASE)
    finally:
        stack.run("docker", "rm", "--force", name)
        stack.compose("start", "mailhog")
        wait_until(stack.is_healthy, "MailHog")
