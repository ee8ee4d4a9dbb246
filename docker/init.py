"""The one-shot service `init`: generates the secrets and sets the owners of the volumes.

    init.py           both
    init.py volumes   only the owners of the app's volumes: on the other nodes of a swarm

Runs as root, without a network and with three capabilities: CHOWN and FOWNER to set owners, and
DAC_READ_SEARCH to read secrets that only the operator may read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import certificates
import domain
import mailhog_password
from volume_owner import FILE, App, refusal

SECRETS = Path("/run/secrets")
ROTATION_PLAN = ".rotation"  # in it, while rotation.py replaces secrets
OPERATOR = Path("/operator")  # the checkout
DATA = (Path("/var/log/microblog"), Path("/var/spool/microblog"))
EDGE_LOG = Path("/var/log/edge")  # nginx writes into it, watch reads and deletes
INSTANCE = Path("/var/instance")
DATABASE = Path("/var/lib/postgresql/data")
MIGRATIONS = Path(__file__).with_name("has_migrations")  # whether your app has any
OWNER = SECRETS / FILE
MIN_SECRET_LENGTH = 32  # characters
TRUE = ("1", "true", "yes", "on")
VARIABLE = re.compile(r"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")

POSTGRES = 999  # the user of the image postgres
APP = 10001  # the user and the group of web and migrate
NGINX = 101  # the user of the image nginx
WEB_ONLY = 10011  # a group that only web has
MIGRATE_ONLY = 10012  # a group that only migrate has
WATCH_ONLY = 10013  # a group that only watch has


@dataclass(frozen=True)
class Secret:
    """A file in the volume: its owner, the group that may read it, and how it is made.

    ``role`` is the role that the password belongs to. ``.<name>_login`` names the login that
    is in use, see :mod:`rotation`.
    """

    name: str
    owner: int
    group: int
    generated: bool = True
    role: str = ""

    @property
    def kept_by_database(self) -> bool:
        """Whether the database knows it too."""
        return self.owner == POSTGRES

    @property
    def login_file(self) -> Path:
        """The file with the name of the login."""
        return SECRETS / f".{self.name.removesuffix('_password')}_login"


COMMON = (
    Secret("secret_key", 0, APP),
    Secret("secret_key_fallbacks", 0, APP, generated=False),
    Secret("postgres_password", POSTGRES, POSTGRES),
    Secret("mail_password", 0, APP, generated=False),
    Secret("mail_ca.crt", 0, APP, generated=False),
    Secret("mailhog_password", 0, 0, generated=False),
    Secret("heartbeat_url", 0, WATCH_ONLY, generated=False),
    Secret("report_webhook_url", 0, APP, generated=False),
)
DEMO = (
    *COMMON,
    Secret("migrate_password", POSTGRES, MIGRATE_ONLY, role="microblog_owner"),
    Secret("web_password", POSTGRES, WEB_ONLY, role="microblog_web"),
)
# Without migrations, the app creates its tables itself: web connects as their owner.
YOUR_APP = (*COMMON, Secret("app_password", POSTGRES, APP, role="app"))
YOUR_APP_WITH_MIGRATIONS = (
    *COMMON,
    Secret("app_password", POSTGRES, MIGRATE_ONLY, role="app"),
    Secret("web_password", POSTGRES, WEB_ONLY, role="app_web"),
)
# Of the role that may only use the tables in which the couriers of several machines agree.
COURIERS = (Secret("courier_password", POSTGRES, APP, role="mayday_courier"),)


def main() -> None:
    """Prepare every volume, or exit with each problem and its fix."""
    if sys.argv[1:] == ["volumes"]:
        own_app_volumes()
        return
    app = App.from_environment()
    if (problem := claim(app)) is not None:
        sys.exit(problem)
    if os.environ.get("TLS") and (wrong := domain.problems(os.environ)):
        sys.exit("\n".join(wrong))
    wanted = wanted_secrets(app)
    problems = [problem for secret in wanted if (problem := provide(secret))]
    if all(secret.name != "web_password" for secret in wanted):
        # The app no longer has migrations. The service roles sees that by the missing file.
        (SECRETS / "web_password").unlink(missing_ok=True)
    if not app.is_demo:
        problems += copy_app_env()
    problems += certificates.provide()
    if problems:
        sys.exit("\n".join(problems))
    provide_mailhog_users()
    own_app_volumes()
    give_tree(DATABASE, POSTGRES, 0o700)


def own_app_volumes() -> None:
    """Set the owners of the volumes that every machine has for itself."""
    for folder in (*DATA, INSTANCE):
        give_tree(folder, APP, 0o750)
    give(EDGE_LOG, NGINX, APP, 0o770)


def wanted_secrets(app: App) -> tuple[Secret, ...]:
    """Return the secrets that the stack needs to run an app."""
    agreement = COURIERS if os.environ.get("COURIERS_AGREE", "0").strip().lower() in TRUE else ()
    return (*_secrets_for(app), *agreement)


def _secrets_for(app: App) -> tuple[Secret, ...]:
    if app.is_demo:
        return DEMO
    has_migrations = bool(os.environ.get("MIGRATE")) or MIGRATIONS.exists()
    if has_migrations and os.environ.get("DATABASE_ROLE") != "owner":
        return YOUR_APP_WITH_MIGRATIONS
    return YOUR_APP


def claim(app: App) -> str | None:
    """Record which app the volumes belong to; return an error message if it is another app."""
    if OWNER.exists():
        owner = OWNER.read_text().strip()
    elif (SECRETS / "web_password").exists():  # from a version that did not record it
        owner = "Microblog"
    else:
        owner = str(app)
    if owner != str(app):
        return refusal(owner, app, OWNER)
    if not OWNER.exists():
        write(OWNER, f"{app}\n")
        give(OWNER, 0, 0, 0o444)
    return None


def provide(secret: Secret) -> str | None:
    """Put a secret into the volume; return the problem with it, or ``None``."""
    path = SECRETS / secret.name
    present = path.read_text() if path.exists() else None
    try:
        own = (OPERATOR / "secrets" / secret.name).read_text().rstrip("\r\n")
    except FileNotFoundError:
        own = None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        what = "a folder" if isinstance(error, IsADirectoryError) else "not text in UTF-8"
        return (
            f"{secret.name.upper()}: secrets/{secret.name} is {what}: delete it, or put a file "
            "with the secret as text in its place."
        )
    if own is not None and (problem := check(secret, own, present)) is not None:
        return problem
    if own is not None and (present is None or not is_being_rotated(secret.name, own)):
        wanted = own
    elif present is not None:
        wanted = present
    else:
        wanted = secrets.token_hex(32) if secret.generated else ""
    # A new file, even if only its readers change: `make up` replaces web containers that are older
    # than a secret.
    if wanted != present or path.stat().st_gid != secret.group:
        if secret.name == "secret_key" and present and wanted != present:
            # Nobody is logged out. In a running stack, `make up` changes the key by rotation.py.
            write(path.with_name("secret_key_fallbacks"), present, 0, APP, 0o440)
        write(path, wanted, secret.owner, secret.group, 0o440)
    give(path, secret.owner, secret.group, 0o440)
    if secret.role and not secret.login_file.exists():
        write(secret.login_file, f"{secret.role}\n", mode=0o444)
    return None


def is_being_rotated(name: str, value: str) -> bool:
    """Return whether a rotation is under way, which decides when a secret changes to ``value``.

    This service runs between its steps. If it wrote the operator's new key at once, containers
    would sign with it before every container accepts it.
    """
    plan = SECRETS / ROTATION_PLAN
    return plan.exists() and json.loads(plan.read_text())["values"].get(name) == value


def check(secret: Secret, own: str, present: str | None) -> str | None:
    """Return the problem with a secret that the operator has provided, or ``None``."""
    if secret.generated and len(own) < MIN_SECRET_LENGTH:
        return (
            f"{secret.name.upper()}: the file secrets/{secret.name} has {len(own)} characters, "
            f"but needs at least {MIN_SECRET_LENGTH}: write a longer secret, or delete the file "
            "and one will be generated."
        )
    if secret.name == "mailhog_password":
        return mailhog_password.problem(own)
    if secret.kept_by_database and present is not None and present != own:
        return (
            f"{secret.name.upper()}: the file secrets/{secret.name} differs from the password "
            "that the database has: run `make rotate-secrets` to change it, or delete the file "
            "to keep that password."
        )
    return None


def provide_mailhog_users() -> None:
    """Write the hash of MailHog's password for its guard, or remove it."""
    path, password = SECRETS / mailhog_password.FILE, (SECRETS / "mailhog_password").read_text()
    if not password:
        path.unlink(missing_ok=True)
        return
    present = path.read_text() if path.exists() else ""
    wanted = mailhog_password.user_line(password, present)
    if wanted != present:
        write(path, wanted, 0, NGINX, 0o440)
    give(path, 0, NGINX, 0o440)


def copy_app_env() -> list[str]:
    """Copy app.env into the secrets volume; return the problems with it."""
    target = SECRETS / "app.env"
    try:
        text = (OPERATOR / "app.env").read_text()
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return []
    except (OSError, UnicodeDecodeError) as error:
        return [f"app.env cannot be read ({type(error).__name__}): it must be text in UTF-8."]
    problems = [
        f"app.env, line {number}: write NAME=value."
        for number, line in enumerate(map(str.strip, text.splitlines()), 1)
        if line and not line.startswith("#") and not VARIABLE.match(line)
    ]
    if not problems:
        if not target.exists() or target.read_text() != text:
            write(target, text)
        give(target, 0, APP, 0o440)
    return problems


def write(path: Path, text: str, owner: int = 0, group: int = 0, mode: int = 0o600) -> None:
    """Replace a file with a new one: without DAC_OVERRIDE, root cannot write to another user's."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text(text)
    give(new, owner, group, mode)
    new.rename(path)


def give_tree(folder: Path, owner: int, mode: int) -> None:
    """Make a user the owner of a folder and of its contents, some of which root may own."""
    give(folder, owner, owner, mode)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):  # the running services delete files
                status = os.lstat(path)
                if status.st_uid != owner:
                    os.chown(path, owner, owner, follow_symlinks=False)
                    if not stat.S_ISLNK(status.st_mode):  # a copy may have lost the right to write
                        os.chmod(path, stat.S_IMODE(status.st_mode) | stat.S_IRUSR | stat.S_IWUSR)


def give(path: Path, owner: int, group: int, mode: int) -> None:
    """Set owner, group and mode where they differ."""
    status = path.stat()
    if (status.st_uid, status.st_gid) != (owner, group):
        os.chown(path, owner, group)
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)


if __name__ == "__main__":
    main()
