"""The TLS certificate that nginx serves: the service `init` prepares it, by the setting TLS.

acme: a temporary self-signed certificate until the service `acme` has obtained one. own: the
operator's, from the folder secrets, after a check. self-signed: one for this name.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SERVED = Path("/run/tls")
ACCOUNT = Path("/var/lib/acme")
OPERATOR = Path("/operator/secrets")
CERTIFICATE = "tls_certificate.pem"
KEY = "tls_key.pem"
NGINX = 101  # the user and the group of nginx and acme
RENEW_BEFORE = 30 * 86400  # seconds before a self-signed certificate expires
LOCALHOST = "localhost"


@dataclass(frozen=True)
class TlsSettings:
    """The values of TLS and DOMAIN, which decide what certificate nginx serves."""

    mode: str
    domain: str

    @property
    def name(self) -> str:
        """The host name in a self-signed certificate."""
        return self.domain or LOCALHOST

    def __str__(self) -> str:
        return f"{self.mode} {self.name}\n"


def provide() -> list[str]:
    """Prepare the certificate; return the problems with it, each with its fix."""
    wanted = TlsSettings(os.environ.get("TLS", ""), os.environ.get("DOMAIN", ""))
    if not wanted.mode:
        return []
    for folder, mode in ((SERVED, 0o775), (ACCOUNT, 0o700)):
        if folder.is_dir():
            os.chown(folder, 0 if folder == SERVED else NGINX, NGINX)
            folder.chmod(mode)
    if wanted.mode == "own":
        return provide_own(wanted)
    if not is_served(wanted) or (wanted.mode == "self-signed" and expires_soon()):
        stop_hsts()
        serve(self_signed(wanted.name), wanted)
    return []


def provide_own(wanted: TlsSettings) -> list[str]:
    """Serve the operator's certificate, if it is valid; return the problems with it."""
    certificate, key = OPERATOR / CERTIFICATE, OPERATOR / KEY
    for path in (certificate, key):
        if not path.is_file():
            return [f"TLS is own, but secrets/{path.name} is missing: see secrets/README.md."]
    if problem := check_own(certificate, key, wanted.domain):
        return [problem]
    pem = key.read_bytes().rstrip() + b"\n" + certificate.read_bytes()
    renewed = is_served(wanted)
    if renewed and (SERVED / "certificate.pem").read_bytes() == pem:
        return []
    stop_hsts()
    if not is_local(wanted.name):
        (SERVED / ("hsts-year" if renewed else "hsts-day")).touch()
    serve(pem, wanted)
    return []


def check_own(certificate: Path, key: Path, domain: str) -> str | None:
    """Return the problem with a certificate and its key, or ``None``."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        return (
            f"secrets/{CERTIFICATE} and secrets/{KEY} cannot be used: {reason(error)}. The first "
            "holds the certificate and then the intermediate ones, the second its key without a "
            "passphrase, both in PEM format."
        )
    begin, end = validity(certificate)
    now = datetime.now(UTC)
    if end <= now:
        return f"secrets/{CERTIFICATE} expired on {end:%Y-%m-%d}: replace it and its key."
    if begin > now:
        return f"secrets/{CERTIFICATE} is not valid before {begin:%Y-%m-%d %H:%M} UTC."
    if domain and not openssl(certificate, "-checkhost", domain).endswith("does match certificate"):
        listed = openssl(certificate, "-ext", "subjectAltName")
        names = ", ".join(re.findall(r"DNS:([^,\s]+)", listed))
        return (
            f"secrets/{CERTIFICATE} is for {names or 'no host name'}, but DOMAIN is {domain}: "
            "replace the certificate, or change DOMAIN."
        )
    return None


def no_password() -> str:
    """Refuse a key with a passphrase, which OpenSSL would otherwise request on the terminal."""
    raise ValueError("the key has a passphrase")


def reason(error: Exception) -> str:
    """Return what is wrong with a certificate or a key, in plain words."""
    words = {
        "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
        "NO_START_LINE": "one of them is not in PEM format",
    }
    name = getattr(error, "reason", None) or ""
    return words.get(name, str(error))


def validity(certificate: Path) -> tuple[datetime, datetime]:
    """Return the times between which a certificate is valid."""
    dates = openssl(certificate, "-dates", "-dateopt", "iso_8601")
    begin, end = (datetime.fromisoformat(line.split("=")[1]) for line in dates.splitlines())
    return begin, end


def openssl(certificate: Path, *arguments: str) -> str:
    """Return what OpenSSL says about a certificate."""
    command = ["openssl", "x509", "-noout", "-in", str(certificate), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def is_served(wanted: TlsSettings) -> bool:
    """Return whether nginx has a certificate for this mode and name."""
    mark = SERVED / "for"
    served = SERVED / "certificate.pem"
    return served.exists() and mark.exists() and mark.read_text() == str(wanted)


def expires_soon() -> bool:
    """Return whether the served certificate expires within 30 days."""
    _, end = validity(SERVED / "certificate.pem")
    return (end - datetime.now(UTC)).total_seconds() < RENEW_BEFORE


def is_local(name: str) -> bool:
    """Return whether a name always resolves to this machine."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == LOCALHOST or name.endswith(f".{LOCALHOST}")


def self_signed(name: str) -> bytes:
    """Return a new key and a self-signed certificate for a name and this machine, valid a year."""
    names = ",".join(dict.fromkeys((f"DNS:{name}", f"DNS:{LOCALHOST}", "IP:127.0.0.1", "IP:::1")))
    command = ["openssl", "req", "-x509", "-nodes", "-days", "365", "-subj", f"/CN={name[:64]}"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "-"]
    for extension in (f"subjectAltName={names}", "basicConstraints=critical,CA:FALSE"):
        command += ["-addext", extension]
    return subprocess.run(command, capture_output=True, check=True).stdout


def stop_hsts() -> None:
    """Stop Strict-Transport-Security: nginx sends it only while one of these files exists."""
    for name in ("hsts-day", "hsts-year"):
        (SERVED / name).unlink(missing_ok=True)


def serve(pem: bytes, wanted: TlsSettings) -> None:
    """Replace the file that nginx reads at every handshake, atomically."""
    new = SERVED / "certificate.new"
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_bytes(pem)
    new.chmod(0o400)
    os.chown(new, NGINX, NGINX)
    new.rename(SERVED / "certificate.pem")
    mark = SERVED / "for"
    mark.unlink(missing_ok=True)
    mark.write_text(str(wanted))
