"""Prints the URL at which this machine reaches a service: ``python3 addresses.py SERVICE PORT``."""

from __future__ import annotations

import subprocess
import sys


def address(service: str, port: int) -> str:
    """Return the URL of a service's port; exit if the service is not running.

    A port that is published on every address is reached through loopback.
    """
    command = ["docker", "compose", "port", service, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    host, colon, published = done.stdout.strip().rpartition(":")
    if not colon:
        sys.exit(f"The service {service} is not running. Start the stack: make up")
    return url(host, published)


def site_address() -> str:
    """Return the URL of the site: HTTPS if nginx speaks it; exit if nginx is not running."""
    command = ["docker", "compose", "port", "nginx", "8443"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    host, colon, published = done.stdout.strip().rpartition(":")
    if done.returncode or not colon or published == "0":
        return address("nginx", 8080)
    return url(host, published).replace("http:", "https:")


def url(host: str, port: str) -> str:
    """Return the URL for an address that Docker has published, with or without brackets."""
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    print(address(sys.argv[1], int(sys.argv[2])))
