"""Prints the URL at which this machine reaches a service: ``python3 addresses.py SERVICE PORT``."""

from __future__ import annotations

import subprocess
import sys


def address(service: str, port: int) -> str:
    """Return the URL of a service's port; exit if the service is not running.

    A port that is published on every address is reached through loopback.
    """
    published = published_at(service, port)
    if published is None:
        sys.exit(f"The service {service} is not running. Start the stack: make up")
    return url(*published)


def site_address() -> str:
    """Return the URL of the site: HTTPS if nginx speaks it; exit if nginx is not running."""
    published = published_at("nginx", 8443)
    return url(*published).replace("http:", "https:") if published else address("nginx", 8080)


def published_at(service: str, port: int) -> tuple[str, str] | None:
    """Return the host and port at which a port is published, or ``None`` if it is not."""
    command = ["docker", "compose", "port", service, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    host, _, published = done.stdout.strip().rpartition(":")
    return None if done.returncode or published in ("", "0") else (host, published)


def url(host: str, port: str) -> str:
    """Return the URL for an address that Docker has published, with or without brackets."""
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    print(address(sys.argv[1], int(sys.argv[2])))
