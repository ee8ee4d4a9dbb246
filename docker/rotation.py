"""Rotates the secrets in the volume, in steps between which the containers are replaced.

    rotation.py begin    adds a second secret key, and passwords for the logins that are not in use
    rotation.py adopt    adds the secret key that the operator has written to secrets/, nothing else
    rotation.py switch   makes the second secret key the first
    rotation.py finish   deletes the plan

A container accepts sessions signed with either key and signs with the first. So every container
accepts the new key before any signs with it. Each database role has two logins, used in turn. The
plan is in the volume, so that a rotation that was interrupted continues where it stopped.
"""

from __future__ import annotations

import json
import secrets
import sys
from typing import TypedDict

import init
from init import OPERATOR, SECRETS, Secret
from volume_owner import App

PLAN = SECRETS / init.ROTATION_PLAN
KEPT = "secrets/{name} is your own and stays. To change it, write a new one there first."


class Plan(TypedDict):
    """New values by the name of the secret, and the login of each database role."""

    values: dict[str, str]
    logins: dict[str, str]


def main() -> None:
    """Run the step that the command line names."""
    app = App.from_environment()
    wanted = init.wanted_secrets(app)
    match sys.argv[1:]:
        case ["adopt"]:
            adopt(app, wanted)
        case ["begin"]:
            begin(wanted)
        case ["switch"]:
            switch()
        case ["finish"]:
            PLAN.unlink(missing_ok=True)
        case _:
            sys.exit(__doc__)


def adopt(app: App, wanted: tuple[Secret, ...]) -> None:
    """Plan the change to the operator's new secret key, and begin it; exit if it cannot be used."""
    if (problem := init.claim(app)) is not None:
        sys.exit(problem)
    if PLAN.exists() and set(read_plan()["values"]) != {"secret_key"}:
        sys.exit("A rotation of the secrets was interrupted. To complete it: make rotate-secrets")
    key = next(secret for secret in wanted if secret.name == "secret_key")
    own = own_value(key)
    if own is None or own == read(key.name):
        return
    if (problem := init.check(key, own, None)) is not None:
        sys.exit(problem)
    init.write(PLAN, json.dumps(Plan(values={key.name: own}, logins={})))
    begin(wanted)


def begin(wanted: tuple[Secret, ...]) -> None:
    """Write every new secret except the first secret key."""
    plan = read_plan() if PLAN.exists() else make_plan(wanted)
    init.provide(next(secret for secret in wanted if secret.name == "secret_key_fallbacks"))
    for secret in wanted:
        new = plan["values"].get(secret.name)
        if new is None:
            continue
        if secret.name == "secret_key":
            if new != read("secret_key"):
                others = [key for key in read("secret_key_fallbacks").splitlines() if key != new]
                replace("secret_key_fallbacks", "\n".join([new, *others]))
            continue
        replace(secret.name, new)
        if secret.role:
            init.write(secret.login_file, plan["logins"][secret.name] + "\n", mode=0o444)


def switch() -> None:
    """Make the new secret key the first one; the old one is the only other one from now on."""
    new, old = read_plan()["values"].get("secret_key"), read("secret_key")
    if new is not None and new != old:
        replace("secret_key_fallbacks", old)
        replace("secret_key", new)


def make_plan(wanted: tuple[Secret, ...]) -> Plan:
    """Choose new values, and say which secrets stay; exit if one cannot be used or none is new."""
    plan: Plan = {"values": {}, "logins": {}}
    problems = []
    for secret in wanted:
        if not secret.generated:
            continue
        own = own_value(secret)
        if own is None:
            plan["values"][secret.name] = secrets.token_hex(32)
        elif own == read(secret.name):
            print(KEPT.format(name=secret.name))
            continue
        elif (problem := init.check(secret, own, None)) is not None:
            problems.append(problem)
        else:
            plan["values"][secret.name] = own
        if secret.role:
            current = secret.login_file.read_text().strip()
            other = f"{secret.role}_2" if current == secret.role else secret.role
            plan["logins"][secret.name] = other
    if problems:
        sys.exit("\n".join(problems))
    if not plan["values"]:
        sys.exit("Every secret is your own: nothing was changed.")
    init.write(PLAN, json.dumps(plan))
    return plan


def own_value(secret: Secret) -> str | None:
    """Return the operator's value in secrets/, or ``None``; exit if it is not a text file."""
    path = OPERATOR / "secrets" / secret.name
    try:
        return path.read_text().rstrip("\r\n") if path.exists() else None
    except (IsADirectoryError, UnicodeDecodeError):
        sys.exit(init.provide(secret))  # names the problem with the file, and changes nothing


def read_plan() -> Plan:
    """Return the plan of the rotation that is under way."""
    plan: Plan = json.loads(PLAN.read_text())
    return plan


def read(name: str) -> str:
    """Return a secret of the volume."""
    return (SECRETS / name).read_text()


def replace(name: str, value: str) -> None:
    """Replace a secret of the volume; keep its owner and group. An equal value changes nothing."""
    path = SECRETS / name
    if read(name) != value:
        status = path.stat()
        init.write(path, value, status.st_uid, status.st_gid, 0o440)


if __name__ == "__main__":
    main()
