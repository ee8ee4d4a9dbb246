"""The one-shot service `init`: makes the secrets, and gives the volumes their owners.

Runs as root without a network and with three capabilities: CHOWN and FOWNER for the owners,
DAC_READ_SEARCH to read secrets that only the operator may read.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

SECRETS = Path("/run/secrets")
OPERATOR = Path("/operator")  # the checkout
DATA = (Path("/var/log/microblog"), Path("/var/spool/microblog"))
INSTANCE = Path("/var/instance")
OWNER = SECRETS / ".belongs_to"  # hidden: no secret
MINIMUM = 32  # characters
VARIABLE = re.compile(r"(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")

POSTGRES = 999  # the user of the image postgres
APP = 10001  # the user and the group of web and migrate
WEB_ONLY = 10011  # a group that only web has
MIGRATE_ONLY = 10012  # a group that only migrate has


@dataclass(frozen=True)
class Secret:
    """A file in the volume: who owns it, which group may read it, and whether it is made here."""

    name: str
    owner: int
    group: int
    generated: bool = True
    kept_by_database: bool = False


COMMON = (
    Secret("secret_key", 0, APP),
    Secret("postgres_password", POSTGRES, POSTGRES, kept_by_database=True),
    Secret("mail_password", 0, APP, generated=False),
)
DEMO = (
    *COMMON,
    Secret("migrate_password", POSTGRES, MIGRATE_ONLY, kept_by_database=True),
    Secret("web_password", POSTGRES, WEB_ONLY, kept_by_database=True),
)
YOUR_APP = (*COMMON, Secret("app_password", POSTGRES, APP, kept_by_database=True))


@dataclass(frozen=True)
class App:
    """The app that the volumes belong to: the demo where no folder is named."""

    module: str
    folder: str

    @classmethod
    def from_environment(cls) -> App:
        """Return the app that APP and APP_DIR name."""
        if not os.environ.get("APP_DIR"):
            return cls("Microblog", "")
        module = os.environ.get("APP", "").partition(":")[0].strip()
        return cls(module, Path(os.environ["APP_DIR"]).name)

    @property
    def is_demo(self) -> bool:
        """Whether it is the demo."""
        return not self.folder and self.module == "Microblog"

    def __str__(self) -> str:
        return (
            self.module if self.folder in ("", self.module) else f"{self.module} in {self.folder}"
        )


def main() -> None:
    """Prepare every volume, or stop the start with what is wrong and the fix."""
    app = App.from_environment()
    if (problem := claim(app)) is not None:
        sys.exit(problem)
    wanted = DEMO if app.is_demo else YOUR_APP
    problems = [problem for secret in wanted if (problem := provide(secret))]
    if not app.is_demo:
        problems += copy_app_env()
    if problems:
        sys.exit("\n".join(problems))
    for folder in (*DATA, INSTANCE):
        give_tree(folder)


def claim(app: App) -> str | None:
    """Record which app the volumes belong to; return what to do if it is another one."""
    if OWNER.exists():
        owner = OWNER.read_text().strip()
    elif (SECRETS / "web_password").exists():  # made before this was recorded
        owner = "Microblog"
    else:
        owner = str(app)
    if owner != str(app):
        return (
            f"These volumes belong to {owner}: run make clean, or set COMPOSE_PROJECT_NAME and "
            "HTTP_PORT."
        )
    if not OWNER.exists():
        write(OWNER, f"{app}\n")
        give(OWNER, 0, 0, 0o444)
    return None


def provide(secret: Secret) -> str | None:
    """Put a secret into the volume; return what is wrong with it, if anything is."""
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
    if own is not None:
        wanted = own
    elif present is not None:
        wanted = present
    else:
        wanted = secrets.token_hex(32) if secret.generated else ""
    if wanted != present:
        write(path, wanted)
    give(path, secret.owner, secret.group, 0o440)
    return None


def check(secret: Secret, own: str, present: str | None) -> str | None:
    """Return what is wrong with a secret that the operator has given, if anything is."""
    if secret.generated and len(own) < MINIMUM:
        return (
            f"{secret.name.upper()}: the file secrets/{secret.name} has {len(own)} characters, "
            f"at least {MINIMUM} are needed: write a longer one, or delete the file and one "
            "will be made."
        )
    if secret.kept_by_database and present is not None and present != own:
        return (
            f"{secret.name.upper()}: the file secrets/{secret.name} is not the password that "
            "the database was made with: delete the file to keep the present one, or delete "
            "the database with `make clean`."
        )
    return None


def copy_app_env() -> list[str]:
    """Copy the app's own settings into the volume of secrets; return the lines that are wrong."""
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


def write(path: Path, text: str) -> None:
    """Replace a file: without DAC_OVERRIDE, root cannot write one that it gave away."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


def give_tree(folder: Path) -> None:
    """Give a folder, and what a restore or an earlier version left in it, to the app's user."""
    give(folder, APP, APP, 0o750)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            if os.lstat(path).st_uid != APP:
                os.chown(path, APP, APP, follow_symlinks=False)


def give(path: Path, owner: int, group: int, mode: int) -> None:
    """Set owner, group and mode, where they are not so already."""
    status = path.stat()
    if (status.st_uid, status.st_gid) != (owner, group):
        os.chown(path, owner, group)
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)


if __name__ == "__main__":
    main()
