"""A stack with a domain and an ACME authority of its own: pebble, Let's Encrypt's test server."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.support.compose import Stack, base_images

DOMAIN = "blog.example.test"
MAIL_SERVER = "smtp.example.test"  # MailHog by another name: `mailhog` is refused with a domain
PEBBLE = {
    "pebble": {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/pebble/certificate.pem",
        "privateKey": "/pebble/key.pem",
        "httpPort": 8080,
        "tlsPort": 8443,
    }
}
SETTINGS = {
    "DOMAIN": DOMAIN,
    "ACME_DIRECTORY": "https://pebble:14000/dir",
    "ACME_CA_FILE": "pebble/certificate.pem",
    "ACME_EMAIL": "admin@example.test",
    "ADMINS": "admin@example.test",
    "MAIL_SERVER": MAIL_SERVER,
    "COMPOSE_PROFILES": "mailhog",
}


def acme_stack(project: str, checkout: Path) -> Stack:
    """Return a stack in this checkout that obtains its certificate from a pebble beside it."""
    program = shutil.which("pebble")
    if program is None:
        pytest.fail("pebble is not installed: run tests/prepare stack")
    folder = checkout / "pebble"
    folder.mkdir()
    (folder / "pebble.json").write_text(json.dumps(PEBBLE))
    shutil.copy(program, folder / "program")
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=pebble"]
    command += ["-addext", "subjectAltName=DNS:pebble", "-keyout", "key.pem"]
    command += ["-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)
    override = {
        "services": {
            "pebble": {
                "image": base_images().get("PYTHON_IMAGE", "python:3.13-slim-trixie"),
                "command": ["/pebble/program", "-config", "/pebble/pebble.json"],
                "environment": {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
                "volumes": ["./pebble:/pebble:ro"],
                "networks": ["front-ipv6"],
            },
            "nginx": {"networks": {"front-ipv6": {"aliases": [DOMAIN]}}},
            "mailhog": {"networks": {"mail": {"aliases": [MAIL_SERVER]}}},
        }
    }
    (checkout / "compose.override.yaml").write_text(json.dumps(override))
    return Stack(project, checkout, dict(SETTINGS))


def served_certificate(stack: Stack) -> str:
    """Return the certificate that nginx serves, in PEM format."""
    return ssl.get_server_certificate(("127.0.0.1", stack.https_port), timeout=60)


def authority(stack: Stack) -> str:
    """Return pebble's root certificate, in PEM format: it makes another at each start."""
    script = (
        "import ssl, urllib.request as u;"
        "c = ssl._create_unverified_context();"
        "print(u.urlopen('https://pebble:15000/roots/0', context=c).read().decode())"
    )
    return stack.execute("web", "python", "-c", script)
