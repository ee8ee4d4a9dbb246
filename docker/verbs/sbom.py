"""Writes a bill of materials (SBOM, CycloneDX 1.6) for each image of the stack: sbom/IMAGE.json.

Lists the Debian packages, the Python packages and MailHog's Go modules with their versions, read
from the image itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from runtime import run

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "sbom"
# Prints the name and the version of each Python package, wherever the image keeps them.
PYTHON = (
    "import glob, importlib.metadata as m;"
    "paths = glob.glob('/opt/venv/lib/python3*/site-packages');"
    "[print(d.metadata['Name'], d.version) for d in m.distributions(path=paths)]"
)


def main() -> int:
    """Write a file for each image of the stack, and print its name and number of packages."""
    TARGET.mkdir(exist_ok=True)
    for image in sorted(set(images())):
        system = read(image, "cat", "/etc/os-release")
        packages = [
            *debian_packages(read(image, "cat", "/var/lib/dpkg/status"), system),
            *python_packages(read(image, "python3", "-c", PYTHON)),
            *go_modules(read(image, "busybox", "cat", "/usr/local/bin/MailHog")),
        ]
        path = TARGET / f"{image.replace('/', '_').replace(':', '_')}.json"
        path.write_text(bill(image, packages) + "\n")
        print(f"{path.relative_to(ROOT)}: {len(packages)} packages")
    return 0


def images() -> Iterator[str]:
    """Yield the images of the services that the settings start, and warn of missing ones."""
    done = run("docker", "compose", "config", "--images")
    if done.returncode:
        sys.exit(f"error: {done.stderr.strip()}")
    for image in done.stdout.split():
        if run("docker", "image", "inspect", image).returncode:
            print(f"warning: {image} is not on this machine: run make up", file=sys.stderr)
        else:
            yield image


def read(image: str, *command: str) -> str:
    """Return what a command in a container of an image prints; nothing if it cannot run."""
    start = ["docker", "run", "--rm", "--network", "none", "--entrypoint", command[0], image]
    output = subprocess.run([*start, *command[1:]], capture_output=True, check=False).stdout
    return output.decode("utf-8", "replace")


def debian_packages(status: str, os_release: str) -> Iterator[Component]:
    """Return the packages in dpkg's status file that are installed."""
    system = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    vendor, version = (system.get(name, "").strip('"') for name in ("ID", "VERSION_ID"))
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line[:40])
        if fields.get("Status", "").endswith(" installed"):
            qualifiers = {"arch": fields["Architecture"], "distro": f"{vendor}-{version}"}
            yield component("deb", fields["Package"], fields["Version"], vendor, qualifiers)


def python_packages(listing: str) -> Iterator[Component]:
    """Return the packages in a listing of names and versions."""
    for line in sorted(set(listing.splitlines())):
        name, version = line.split()
        yield component("pypi", name.lower().replace("_", "-"), version)


def go_modules(program: str) -> Iterator[Component]:
    """Return the modules that a Go program says it was built from."""
    for name, version in re.findall(r"^(?:mod|dep)\t(\S+)\t(v\S+)", program, re.MULTILINE):
        namespace, _, last = name.rpartition("/")
        yield component("golang", last, version, namespace)


def component(
    kind: str,
    name: str,
    version: str,
    namespace: str | None = None,
    qualifiers: dict[str, str] | None = None,
) -> Component:
    """Return a package with its address (purl), by which scanners look it up."""
    purl = PackageURL(kind, namespace, name, version, qualifiers)
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl)
    )


def bill(image: str, packages: list[Component]) -> str:
    """Return the bill of materials of an image as JSON."""
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    bom = Bom(components=packages)
    whole = Component(name=image, version=digest, type=ComponentType.CONTAINER, bom_ref=image)
    bom.metadata.component = whole
    bom.register_dependency(whole, packages)
    text: str = JsonV1Dot6(bom).output_as_string()
    return json.dumps(json.loads(text), indent=2, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
