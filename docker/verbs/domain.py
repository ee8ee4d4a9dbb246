"""The settings of a site on the internet: DOMAIN, TLS and those that ACME needs.

Used by `make up` before it changes anything, and by the service `init` where there is no `make`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

OWN_CERTIFICATE = ("tls_certificate.pem", "tls_key.pem")  # in the folder secrets
MODES = ("", "acme", "own", "self-signed")
LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter, so that an IP address does not match.
NAME = re.compile(rf"(?=.{{1,253}}$)(?:{LABEL}\.)*(?=[a-z]){LABEL}")
# The defaults of a site with DOMAIN, where they differ from those in .env.example.
DEFAULTS = {
    "HTTP_BIND": "0.0.0.0",
    "HTTP_PORT": "80",
    "HTTPS_PORT": "443",
    "DRILL": "0",
    "TLS": "acme",
}
MAIL_LINES = """
    ADMINS=you@{domain}
    MAIL_SERVER=smtp.{domain}
    MAIL_PORT=587
    MAIL_USE_TLS=1
    MAIL_USERNAME=site
    MAIL_FROM=no-reply@{domain}"""


def problems(values: Mapping[str, str]) -> list[str]:
    """Return the problems with the values of these settings, each with its fix."""
    domain, mode = values["DOMAIN"], values["TLS"]
    found = []
    if mode not in MODES:
        found.append(f"TLS is '{mode}': use acme, own or self-signed, or leave it empty.")
    if domain and not NAME.fullmatch(domain):
        found.append(
            f"DOMAIN is '{domain}', which is not a host name in lower case: "
            "write it without scheme, port and path, such as blog.example.org."
        )
    elif mode == "acme" and "." not in domain:
        what = f"DOMAIN is '{domain}'" if domain else "DOMAIN is not set"
        found.append(
            f"TLS is acme, but {what}: set DOMAIN to the site's public name, or TLS=self-signed."
        )
    elif domain:
        found += mail_problems(domain, values)
    return found


def mail_problems(domain: str, values: Mapping[str, str]) -> list[str]:
    """Return the problem if error mails would reach nobody, with the lines to add to .env."""
    server = values["MAIL_SERVER"]
    reasons = []
    if server == "mailhog":
        reasons.append("MAIL_SERVER is mailhog, which only captures mails")
    if values["ADMINS"].endswith("@microblog.example"):
        reasons.append(f"ADMINS is the default, {values['ADMINS']}")
    if not reasons:
        return []
    return [
        f"DOMAIN is {domain}, but {' and '.join(reasons)}: nobody would receive error mails. "
        f"Add these lines to .env, with your own values:{MAIL_LINES.format(domain=domain)}\n"
        "The password goes in the file secrets/mail_password."
    ]


def certificate_problems(values: Mapping[str, str], root: Path) -> list[str]:
    """Return the problems with the certificate's files and authority; ``root`` is the checkout."""
    if values["TLS"] == "own":
        return [
            f"TLS is own, but secrets/{name} is missing: see secrets/README.md."
            for name in OWN_CERTIFICATE
            if not (root / "secrets" / name).exists()
        ]
    if values["TLS"] != "acme":
        return []
    problems = []
    if not re.fullmatch(r"https://[^\s/]+/\S*", values["ACME_DIRECTORY"]):
        problems.append(
            f"ACME_DIRECTORY is '{values['ACME_DIRECTORY']}': use the https:// address of the "
            "authority's directory."
        )
    if values["ACME_EMAIL"] and not re.fullmatch(r"[^\s@,]+@[^\s@,]+", values["ACME_EMAIL"]):
        problems.append(f"ACME_EMAIL is '{values['ACME_EMAIL']}': use one mail address.")
    if values["ACME_CA_FILE"] and not (root / values["ACME_CA_FILE"]).is_file():
        problems.append(
            f"ACME_CA_FILE is '{values['ACME_CA_FILE']}': there is no such file. "
            f"Relative paths start at {root}."
        )
    return problems


def unused_certificate(values: Mapping[str, str], root: Path) -> list[str]:
    """Return a warning if there is a certificate that TLS does not select."""
    if values["TLS"] != "own" and (root / "secrets" / OWN_CERTIFICATE[0]).exists():
        return [f"secrets/{OWN_CERTIFICATE[0]} is not used. To serve HTTPS with it, set TLS=own."]
    return []
