"""Programs in containers of their own beside nginx, with addresses that nginx sees."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.compose import Stack

# Prints the status of each request, after `status=`, and the headers of the last one.
ASK = """
import sys, urllib.error, urllib.request
url, method, count, *headers = sys.argv[1:]
data = b"" if method == "POST" else None
sent = dict(header.split(": ", 1) for header in headers)
for _ in range(int(count)):
    request = urllib.request.Request(url, data, sent, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    print(f"status={answer.status}")
    body = answer.read().decode()
print(answer.headers, body)
"""


def command(stack: Stack, network: str, script: str, *arguments: str) -> list[str]:
    """Return a command that runs a script in Python, in a network of the stack."""
    docker = ["docker", "run", "--rm", "--interactive", "--network", f"{stack.project}_{network}"]
    docker += ["--entrypoint", "python3", f"{stack.project}-web"]
    return [*docker, "-c", script, *arguments]


def ask(stack: Stack, path: str, *headers: str, method: str = "GET", count: int = 1) -> str:
    """Send requests to nginx from one address; return their statuses and the last answer."""
    url = f"http://nginx:8080{path}"
    return stack.run(*command(stack, "front", ASK, url, method, str(count), *headers)).stdout


@contextmanager
def slow_clients(
    stack: Stack, kind: str, count: int, *, on_loopback: bool = False
) -> Iterator[None]:
    """Hold slow connections to nginx during the block, from one address."""
    script = Path(__file__).with_name("slow_clients.py").read_text()
    if on_loopback:
        port = str(stack.http_port)
        arguments = ["python3", "-c", script, "127.0.0.1", port, kind, str(count)]
    else:
        arguments = command(stack, "front", script, "nginx", "8080", kind, str(count))
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None, "the slow clients ended too early"
        process.communicate(timeout=60)
