"""The bill of materials that `make sbom` writes for an image."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12
Description: GNU C Library: Shared libraries
 Status: of a line in a description

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1
"""
OS_RELEASE = 'ID=debian\nVERSION_ID="13"\n'
PROGRAM = "\x00\xff\npath\tgithub.com/mailhog/MailHog\ndep\tgithub.com/gorilla/pat\tv1.0.2\th1:x=\n"


@pytest.fixture
def sbom(load: Callable[[str], Any]) -> Any:
    return load("docker/verbs/sbom.py")


def test_every_package_is_listed_with_an_address_that_scanners_know(
    sbom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [
        *sbom.debian_packages(STATUS, OS_RELEASE),
        *sbom.python_packages("Flask_Login 0.6.3\n"),
        *sbom.go_modules(PROGRAM),
    ]
    monkeypatch.setattr(sbom.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": "x"}))
    bill = json.loads(sbom.bill("microblog-web", packages))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "microblog-web"
    assert {part["purl"] for part in bill["components"]} == {
        "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13",
        "pkg:pypi/flask-login@0.6.3",
        "pkg:golang/github.com/gorilla/pat@v1.0.2",
    }
