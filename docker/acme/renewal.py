"""The service `acme`: obtains the certificate for DOMAIN by ACME, renews it, passes it to nginx.

`renewal.py` runs forever; `renewal.py now` renews at once, whether or not it is due. Certbot does
the work. It keeps the private key when it renews, so that the key that nginx has read always
matches the certificate that it reads next.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

STATE = Path("/var/lib/acme")
SERVED = Path("/run/tls")
SCRATCH = "/tmp/certbot"
AUTHORITY = Path("/acme_ca")  # ACME_CA_FILE; empty if it is not set
OUTCOME = Path("/tmp/outcome")  # empty, or why the last attempt failed
CHECK_EVERY = 12 * 3600  # seconds
# Seconds after a failure. An authority allows a name five failures an hour.
RETRY_AFTER = (120, 600, 1800, 3600)


def main(arguments: list[str]) -> int:
    """Renew once or forever; return the exit status."""
    if arguments == ["now"]:
        failure = obtain("--force-renewal")
        OUTCOME.write_text(failure)
        print(failure or "The certificate was renewed.")
        return 1 if failure else 0
    if arguments:
        sys.exit(__doc__)
    failures = 0
    deploy()
    while True:
        failure = obtain()
        OUTCOME.write_text(failure)
        failures = failures + 1 if failure else 0
        seconds = CHECK_EVERY * random.uniform(0.9, 1)  # spreads the load
        if failure:
            seconds = RETRY_AFTER[min(failures, len(RETRY_AFTER)) - 1]
            print(f"No new certificate: {failure} Next attempt in {seconds} s.", flush=True)
        time.sleep(seconds)


def obtain(*options: str) -> str:
    """Have certbot obtain or renew the certificate, and serve it; return why that failed."""
    domain, email = os.environ["DOMAIN"], os.environ.get("ACME_EMAIL", "")
    challenges = SERVED / "challenges"
    challenges.mkdir(exist_ok=True)
    command = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--keep-until-expiring"]
    command += ["--server", directory(), "--domain", domain, "--cert-name", domain, "--reuse-key"]
    command += ["--webroot", "--webroot-path", str(challenges), "--config-dir", str(state())]
    command += ["--work-dir", SCRATCH, "--logs-dir", SCRATCH, "--max-log-backups", "0"]
    command += ["--email", email] if email else ["--register-unsafely-without-email"]
    environment = dict(os.environ)
    if AUTHORITY.exists() and AUTHORITY.read_bytes().strip():
        environment["REQUESTS_CA_BUNDLE"] = str(AUTHORITY)
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="", end="", flush=True)
        return reason(done.stdout + done.stderr)
    deploy()
    return ""


def directory() -> str:
    """Return the address of the authority's ACME directory."""
    return os.environ["ACME_DIRECTORY"]


def state() -> Path:
    """Return certbot's folder: each authority has its own, with its account and certificates."""
    return STATE / re.sub("[^A-Za-z0-9.-]", "_", urlsplit(directory()).netloc)


def reason(output: str) -> str:
    """Return the error that the authority or certbot reported, in one line."""
    details = re.findall(r"Detail:\s*(.+)", output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    hints = ("Ask for help", "Saving debug", "See the")
    useful = [line for line in lines if not line.startswith(hints)]
    text = "; ".join(details) or (useful[-1] if useful else "certbot failed without a message")
    return text if text.endswith(".") else f"{text}."


def deploy() -> None:
    """Serve certbot's certificate for the domain, if there is one and nginx has another."""
    lineage = state() / "live" / os.environ["DOMAIN"]
    try:
        pem = (lineage / "privkey.pem").read_bytes() + (lineage / "fullchain.pem").read_bytes()
    except FileNotFoundError:
        return
    served = SERVED / "certificate.pem"
    if served.exists() and served.read_bytes() == pem:
        return
    new = SERVED / "certificate.new"
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_bytes(pem)
    new.chmod(0o400)
    new.rename(served)
    archive = state() / "archive" / os.environ["DOMAIN"]
    renewed = (archive / "cert2.pem").exists()
    (SERVED / ("hsts-year" if renewed else "hsts-day")).touch()
    print(f"nginx serves a new certificate for {os.environ['DOMAIN']}.", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
