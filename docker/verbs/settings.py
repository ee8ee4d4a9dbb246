"""Checks the settings of .env and the environment before `make up` changes anything.

Prints each invalid setting with its value and the fix, and exits with status 1. For an unknown name
in .env it prints a warning with the most similar setting.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import domain
import swarm_settings
from proxy_settings import proxy_problems
from setting_values import address, is_ipv6_network, is_number

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env.example"
ENV = ROOT / ".env"
APP_ENV = ROOT / "app.env"
EXAMPLE_LINE = re.compile(r"#?([A-Z][A-Z0-9_]*)=(.*)")
SECRET = (
    *("SECRET_KEY", "POSTGRES_PASSWORD", "DATABASE_URL", "MAIL_PASSWORD", "HEARTBEAT_URL"),
    *("REPORT_WEBHOOK_URL", "MAILHOG_PASSWORD", "AGREEMENT_PASSWORD"),
)
# Names in .env that Docker and other programs read.
FOREIGN_NAMES = re.compile(r"(?i:(COMPOSE|DOCKER|BUILDKIT|BUILDX)_|(HTTPS?|NO|ALL)_PROXY$)")
# The programs in the containers ignore white space around these values. A test compares the ranges
# with those in flask_mayday.settings.
NUMBERS = {
    "LOG_BACKUP_COUNT": (1, 1_000_000),
    "LOG_MAX_BYTES": (1024, 1 << 40),
    "LOG_SLOW_MS": (1, 3_600_000),
    "MAIL_PORT": (1, 65535),
    "MAIL_TIMEOUT": (1, 300),
    "REPORT_KEEP_DAYS": (1, 3650),
    "REPORT_MAILS_PER_HOUR": (1, 100_000),
    "REPORT_WINDOW": (1, 86_400),
    "SPOOL_MAX_BYTES": (1 << 20, 1 << 40),
    "WEB_CONCURRENCY": (1, 128),
    "WEB_THREADS": (1, 256),
}
TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
BOOLEANS = (
    *("COURIERS_AGREE", "DRILL", "FLASK_DEBUG", "LOGIN_LIMITS", "MAIL_USE_SSL", "MAIL_USE_TLS"),
    "METRICS",
)
CHOICES = {
    "LOG_FORMAT": ("text", "json"),
    "LOG_LEVEL": ("debug", "info", "warning", "error", "critical"),
    "REPORT_SUMMARY": ("off", "weekly"),
    "REPORT_WEBHOOK_FORMAT": ("slack", "mattermost", "discord", "ntfy", "json", ""),
}
# The Compose files that use the settings.
USED_IN = ("compose.yaml", "docker/variants.yaml", "compose.debug.yaml", "compose.metrics.yaml")
PORTS = ("HTTP_PORT", "HTTPS_PORT", "MAILHOG_PORT", "DEBUG_PORT", "PROMETHEUS_PORT")


def main() -> int:
    """Print every problem and warning; return 1 if there is a problem."""
    defaults = read_defaults()
    values = effective(defaults, empty_values_that_count())
    for warning in (
        *unknown_names(defaults),
        *readable_by_others(),
        *domain.unused_certificate(values, ROOT),
    ):
        print(f"warning: {warning}", file=sys.stderr)
    problems = [
        *address_problems(values),
        *value_problems(values),
        *model_problems(values),
        *app_problems(values),
        *domain.problems(values),
        *swarm_settings.problems(values),
        *domain.certificate_problems(values, ROOT),
    ]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def read_defaults() -> dict[str, str]:
    """Return the settings that .env.example names, with their defaults."""
    matches = (EXAMPLE_LINE.match(line) for line in EXAMPLE.read_text().splitlines())
    return {match[1]: match[2] for match in matches if match}


def empty_values_that_count() -> set[str]:
    """Return the settings whose empty value Compose keeps, instead of taking the default."""
    text = "".join((ROOT / name).read_text() for name in USED_IN)
    return set(re.findall(r"\$\{([A-Z_]+)-", text))


def effective(defaults: dict[str, str], kept_empty: set[str]) -> dict[str, str]:
    """Return each setting's value as Compose sees it: the environment, .env, the default.

    An empty value is the default too, unless the setting is one of ``kept_empty``.
    """
    expressions = {
        name: f"${{{name}{'-' if name in kept_empty else ':-'}{default}}}"
        for name, default in defaults.items()
    }
    values = interpolated(expressions)
    if values["DOMAIN"]:
        changed = {name: f"${{{name}:-{default}}}" for name, default in domain.DEFAULTS.items()}
        values.update(interpolated(changed))
    return values


def interpolated(expressions: dict[str, str]) -> dict[str, str]:
    """Return texts with the variables in them replaced by Compose."""
    model = {"name": "x", "services": {"x": {"image": "x", "environment": expressions}}}
    done = subprocess.run(
        ["docker", "compose", "--file", "-", "config", "--format", "json"],
        input=json.dumps(model),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        name = "COMPOSE_PROJECT_NAME" if "project name" in done.stderr else ".env"
        sys.exit(f"error: {name} cannot be used: {done.stderr.strip()}")
    found: dict[str, str] = json.loads(done.stdout)["services"]["x"]["environment"]
    return {name: value.replace("$$", "$") for name, value in found.items()}


def unknown_names(defaults: dict[str, str]) -> list[str]:
    """Return a warning for each name in .env that is not a setting."""
    if not ENV.exists():
        return []
    found = re.findall(
        r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", ENV.read_text(errors="replace"), re.MULTILINE
    )
    warnings = []
    for name in dict.fromkeys(found):
        if name in SECRET:
            warnings.append(f"{name} in .env is ignored. Secrets go in files: secrets/README.md.")
        elif name not in defaults and not FOREIGN_NAMES.match(name):
            near = difflib.get_close_matches(name.upper(), defaults, n=1, cutoff=0.6)
            hint = (
                f" Did you mean {near[0]}?" if near else " Your app's own variables go in app.env."
            )
            warnings.append(f"{name} in .env is not a setting.{hint}")
    return warnings


def readable_by_others() -> list[str]:
    """Return a warning if other users of this machine can read the app's secrets."""
    if APP_ENV.exists() and APP_ENV.stat().st_mode & 0o077:
        return ["Other users can read app.env, which may hold secrets. Run: chmod 600 app.env"]
    return []


def address_problems(values: dict[str, str]) -> list[str]:
    """Return the problems with the addresses on which the stack is published."""
    problems = []
    host = address(values["HTTP_BIND"])
    if host is None:
        problems.append(
            f"HTTP_BIND is '{values['HTTP_BIND']}', which is not an IP address. "
            "Set it in .env (shell variables override .env): HTTP_BIND=127.0.0.1, or "
            "HTTP_BIND=[::1] with brackets around an address of version 6."
        )
    elif not host.is_loopback and values["DRILL"].strip().lower() in TRUE:
        problems.append(
            f"DRILL is '{values['DRILL']}': anybody who reaches HTTP_BIND={host} could break this "
            "site. Set DRILL=0 in .env, or HTTP_BIND=127.0.0.1."
        )
    for name in PORTS:
        if not is_number(values[name], 1, 65535):
            problems.append(
                f"{name} is '{values[name]}', which is not a port from 1 to 65535. "
                f"Set it in .env (shell variables override .env): {name}={read_defaults()[name]}"
            )
    published = [name for name in PORTS[:3] if name != "HTTPS_PORT" or values["TLS"]]
    for first, second in itertools.combinations(published, 2):
        if values[first] == values[second]:
            problems.append(
                f"{first} and {second} are both {values[first]}. "
                "Set one of them to another port in .env."
            )
    return problems


def value_problems(values: dict[str, str]) -> list[str]:
    """Return the problems with settings that programs in the containers read."""
    problems = [
        f"{name} is '{values[name]}': use a whole number from {low} to {high}."
        for name, (low, high) in NUMBERS.items()
        if not is_number(values[name].strip().lstrip("0") or "0", low, high)
    ]
    problems += [
        f"{name} is '{values[name]}': use 1, true, yes or on, or 0, false, no or off."
        for name in BOOLEANS
        if values[name].strip().lower() not in TRUE + FALSE
    ]
    problems += [
        f"{name} is '{values[name]}': use one of {', '.join(filter(None, allowed))}."
        for name, allowed in CHOICES.items()
        if values[name].strip().lower() not in allowed
    ]
    if not re.fullmatch(r"[1-9][0-9]{0,9}[kKmM]?|[1-9][0-9]{0,5}[gG]", values["MAX_BODY"].strip()):
        problems.append(
            f"MAX_BODY is '{values['MAX_BODY']}': use a size in bytes, or with k or m, such as 20m."
        )
    return problems


def model_problems(values: dict[str, str]) -> list[str]:
    """Return the problems with settings that Compose reads itself, without removing white space."""
    problems = []
    for name, high in (("REQUEST_TIMEOUT", 3600), ("WEB_REPLICAS", 99)):
        if not is_number(values[name], 1, high):
            problems.append(f"{name} is '{values[name]}': use a whole number from 1 to {high}.")
    if not is_number(values["DB_MAX_CONNECTIONS"], 20, 10_000):
        problems.append(
            f"DB_MAX_CONNECTIONS is '{values['DB_MAX_CONNECTIONS']}': use a whole number from 20 "
            "to 10000."
        )
    if values["DATABASE"] not in ("postgresql", "none"):
        problems.append(f"DATABASE is '{values['DATABASE']}': use postgresql or none.")
    problems += proxy_problems(values)
    if values["DATABASE_ROLE"] not in ("", "owner"):
        role = values["DATABASE_ROLE"]
        problems.append(f"DATABASE_ROLE is '{role}': set it to owner, or leave it empty.")
    if values["IPV6"] not in ("true", "false"):
        problems.append(f"IPV6 is '{values['IPV6']}': use true or false.")
    if not is_ipv6_network(values["IPV6_SUBNET"]):
        subnet = values["IPV6_SUBNET"]
        problems.append(f"IPV6_SUBNET is '{subnet}': use an IPv6 network, such as fd00:1:2:3::/64.")
    if values["STATIC"] not in ("", "nginx"):
        problems.append(f"STATIC is '{values['STATIC']}': set it to nginx, or leave it empty.")
    return problems


def app_problems(values: dict[str, str]) -> list[str]:
    """Return the problems with the settings that choose the app."""
    folder, app = values["APP_DIR"], values["APP"]
    if not folder:
        if app:
            return [f"APP is '{app}' and APP_DIR is not set. Set APP_DIR to your app's folder."]
        if values["DATABASE"] == "none":
            return ["DATABASE is 'none', but the demo needs a database. Set APP_DIR and APP."]
        return []
    if not (ROOT / folder).is_dir():
        return [f"APP_DIR is '{folder}': there is no such folder. Relative paths start at {ROOT}."]
    if not app:
        return [f"APP_DIR is '{folder}' and APP is not set. {candidates(ROOT / folder)}"]
    if values["INSTANCE_PATH"] and not values["INSTANCE_PATH"].startswith("/"):
        return [f"INSTANCE_PATH is '{values['INSTANCE_PATH']}': use an absolute path."]
    return []


def candidates(folder: Path) -> str:
    """Return a suggestion for APP, from the modules and packages in a folder."""
    names = [path.stem for path in sorted(folder.glob("*.py")) if path.stem in ("app", "wsgi")]
    names += [path.parent.name for path in sorted(folder.glob("*/__init__.py"))]
    if not names:
        return "Set it as for FLASK_APP: APP=module, module:app or 'module:factory()'."
    return f"Set it as for FLASK_APP: APP={names[0]}, for example."


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C prints no traceback
    sys.exit(main())
