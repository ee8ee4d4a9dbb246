"""The one-shot service `init`: makes the secrets, and gives the volumes their owners.

Runs as root without a network and with three capabilities: CHOWN and FOWNER for the owners,
DAC_READ_SEARCH to read what the operator keeps in `secrets/` for himself alone.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

SECRETS = Path("/run/secrets")
OPERATORS = Path("/operator-secrets")
DATA = (Path("/var/log/microblog"), Path("/var/spool/microblog"))
MINIMUM = 32  # characters

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


ALL = (
    Secret("secret_key", 0, APP),
    Secret("postgres_password", POSTGRES, POSTGRES, kept_by_database=True),
    Secret("migrate_password", POSTGRES, MIGRATE_ONLY, kept_by_database=True),
    Secret("web_password", POSTGRES, WEB_ONLY, kept_by_database=True),
    Secret("mail_password", 0, APP, generated=False),
)


def main() -> None:
    """Prepare every volume, or stop the start with what is wrong and the mend."""
    problems = [problem for secret in ALL if (problem := provide(secret))]
    if problems:
        sys.exit("\n".join(problems))
    for folder in DATA:
        give(folder, APP, APP, 0o750)
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False):
                os.chown(entry.path, APP, APP, follow_symlinks=False)


def provide(secret: Secret) -> str | None:
    """Put a secret into the volume; return what is wrong with it, if anything is."""
    path = SECRETS / secret.name
    there = path.read_text() if path.exists() else None
    try:
        own = (OPERATORS / secret.name).read_text().rstrip("\r\n")
    except FileNotFoundError:
        own = None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        what = "a folder" if isinstance(error, IsADirectoryError) else "not text in UTF-8"
        return (
            f"{secret.name.upper()}: secrets/{secret.name} is {what}: delete it, or put a file "
            "with the secret as text in its place."
        )
    if own is not None:
        if secret.generated and len(own) < MINIMUM:
            return (
                f"{secret.name.upper()}: the file secrets/{secret.name} has {len(own)} characters, "
                f"at least {MINIMUM} are needed: write a longer one, or delete the file and one "
                "will be made."
            )
        if secret.kept_by_database and there is not None and there != own:
            return (
                f"{secret.name.upper()}: the file secrets/{secret.name} is not the password that "
                "the database was made with: delete the file to keep the present one, or delete "
                "the database with `make clean`."
            )
        wanted = own
    elif there is not None:
        wanted = there
    else:
        wanted = secrets.token_hex(32) if secret.generated else ""
    if wanted != there:
        write(path, wanted)
    give(path, secret.owner, secret.group, 0o440)
    return None


def write(path: Path, text: str) -> None:
    """Replace a file: without DAC_OVERRIDE, root cannot write one that it gave away."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


def give(path: Path, owner: int, group: int, mode: int) -> None:
    """Set owner, group and mode, where they are not so already."""
    status = path.stat()
    if (status.st_uid, status.st_gid) != (owner, group):
        os.chown(path, owner, group)
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)


if __name__ == "__main__":
    main()
