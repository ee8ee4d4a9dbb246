"""The certificate that `init` prepares for nginx."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

DOMAIN = "blog.example.org"


@pytest.fixture
def certificates(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    module = load("docker/certificates.py")
    for name in ("SERVED", "ACCOUNT", "OPERATOR"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "NGINX", os.getgid())
    monkeypatch.setattr(module.os, "chown", lambda *_: None)
    monkeypatch.setenv("TLS", "own")
    monkeypatch.setenv("DOMAIN", DOMAIN)
    return module


def make(folder: Path, name: str = DOMAIN) -> None:
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-subj", f"/CN={name}"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-addext", f"subjectAltName=DNS:{name}"]
    command += ["-keyout", "tls_key.pem", "-out", "tls_certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def served(module: Any) -> set[str]:
    return {path.name for path in module.SERVED.iterdir()}


def test_an_own_certificate_is_served_and_a_second_one_counts_as_a_renewal(
    certificates: Any,
) -> None:
    make(certificates.OPERATOR)
    assert certificates.provide() == []
    assert served(certificates) == {"certificate.pem", "for", "hsts-day"}
    file = certificates.SERVED / "certificate.pem"
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
    before = file.stat().st_ino
    assert certificates.provide() == []
    assert file.stat().st_ino == before
    make(certificates.OPERATOR)
    assert certificates.provide() == []
    assert served(certificates) == {"certificate.pem", "for", "hsts-year"}


def of_another_key(folder: Path) -> None:
    make(folder)
    certificate = (folder / "tls_certificate.pem").read_bytes()
    make(folder)
    (folder / "tls_certificate.pem").write_bytes(certificate)


def with_a_passphrase(folder: Path) -> None:
    make(folder)
    key = str(folder / "tls_key.pem")
    encrypt = ["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:secret", "-out", key]
    subprocess.run(encrypt, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda folder: None, "secrets/tls_certificate.pem is missing"),
        (of_another_key, "the key does not belong to the certificate"),
        (with_a_passphrase, "passphrase"),
        (lambda folder: make(folder, "other.org"), "is for other.org, but DOMAIN is blog.example"),
    ],
    ids=["missing", "another key", "passphrase", "another name"],
)
def test_an_own_certificate_that_does_not_fit_is_refused_with_the_reason(
    certificates: Any, prepare: Callable[[Path], None], problem: str
) -> None:
    prepare(certificates.OPERATOR)
    (found,) = certificates.provide()
    assert problem in found
    assert served(certificates) == set()


@pytest.mark.parametrize(("year", "problem"), [(2099, "expired on"), (2020, "not valid before")])
def test_an_own_certificate_is_refused_outside_its_dates(
    certificates: Any, monkeypatch: pytest.MonkeyPatch, year: int, problem: str
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(year, 1, 1, tzinfo=tz)

    make(certificates.OPERATOR)
    monkeypatch.setattr(certificates, "datetime", Clock)
    (found,) = certificates.provide()
    assert problem in found


def test_a_wildcard_certificate_matches_the_domain(certificates: Any) -> None:
    make(certificates.OPERATOR, "*.example.org")
    assert certificates.provide() == []


@pytest.mark.parametrize("mode", ["acme", "self-signed"])
def test_a_self_signed_certificate_stays_until_mode_or_name_changes_and_has_no_hsts(
    certificates: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("TLS", mode)
    certificates.provide()
    first = (certificates.SERVED / "certificate.pem").read_bytes()
    certificates.provide()
    assert (certificates.SERVED / "certificate.pem").read_bytes() == first
    assert served(certificates) == {"certificate.pem", "for"}
    monkeypatch.setenv("DOMAIN", "other.example.org")
    certificates.provide()
    assert (certificates.SERVED / "certificate.pem").read_bytes() != first


def test_a_local_name_gets_no_hsts(certificates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAIN", "localhost")
    make(certificates.OPERATOR, "localhost")
    assert certificates.provide() == []
    assert served(certificates) == {"certificate.pem", "for"}
