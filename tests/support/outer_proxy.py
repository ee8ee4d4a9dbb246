"""A second nginx in front of the stack's, as somebody who has one runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.compose import Stack, wait_until

CONFIGURATION = """
pid /tmp/outer.pid;
error_log /dev/stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/1;
    proxy_temp_path /tmp/2;
    fastcgi_temp_path /tmp/3;
    uwsgi_temp_path /tmp/4;
    scgi_temp_path /tmp/5;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-ID $request_id;
    add_header X-Outer-Request-ID $request_id always;
    server {
        listen PORT;
        location / { proxy_pass http://TARGET; }
        # An id of another form.
        location /uuid/ {
            proxy_set_header X-Request-ID "6f1c5c2e-8d0c-4c39-9a0e-0d1b1f3c8a11 [request x]";
            proxy_pass http://TARGET/;
        }
    }
    server {
        listen TLS_PORT ssl;
        ssl_certificate /outer/certificate.pem;
        ssl_certificate_key /outer/key.pem;
        location / { proxy_pass http://TARGET; }
    }
}
"""


@contextmanager
def outer_proxy(
    stack: Stack, folder: Path, network: str, target: str, ports: tuple[int, int]
) -> Iterator[str]:
    """Run nginx in ``network`` in front of ``target``; yield the container's name."""
    text = CONFIGURATION
    for name, value in (("TLS_PORT", ports[1]), ("PORT", ports[0]), ("TARGET", target)):
        text = text.replace(name, str(value))
    (folder / "outer.conf").write_text(text)
    _make_certificate(folder)
    folder.chmod(0o755)
    name = f"{stack.project}-outer"
    docker = ["docker", "run", "--detach", "--rm", "--name", name, "--network", network]
    docker += ["--volume", f"{folder}:/outer:ro", "--entrypoint", "nginx", f"{stack.project}-nginx"]
    stack.run(*docker, "-c", "/outer/outer.conf", "-g", "daemon off;")
    try:
        wait_until(lambda: _answers(stack, name, ports[0]), "the outer proxy")
        yield name
    finally:
        stack.run("docker", "rm", "--force", name, check=False)


def _answers(stack: Stack, name: str, port: int) -> bool:
    curl = ["docker", "exec", name, "curl", "--silent", "--fail", "--output", "/dev/null"]
    return stack.run(*curl, f"http://127.0.0.1:{port}/explore", check=False).returncode == 0


def _make_certificate(folder: Path) -> None:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o644)
