"""Reads the passphrase of a backup, and prints the first line that docker/backup reads.

    passphrase.py new [NAME=VALUE ...]   for a new backup, with its manifest (PLAIN=1: unencrypted)
    passphrase.py known FILE             for an existing backup

The passphrase comes from the file that BACKUP_PASSPHRASE_FILE names, or from the terminal.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import tarfile
import time
from pathlib import Path

MIN_LENGTH = 12  # characters
ENV = Path(__file__).resolve().parents[2] / ".env"
HOW = "Set BACKUP_PASSPHRASE_FILE to a file that holds it, or run this in a terminal."


def main() -> None:
    """Print the line, or exit with a message."""
    match sys.argv[1:]:
        case ["new", *pairs]:
            manifest: dict[str, str] = dict(pair.split("=", 1) for pair in pairs)
            manifest["created"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
            manifest["env"] = ENV.read_text(errors="replace") if ENV.exists() else ""
            plain = os.environ.get("PLAIN") == "1"
            header = {"passphrase": None if plain else new_passphrase(), "manifest": manifest}
        case ["known", file]:
            header = {"passphrase": known_passphrase() if is_encrypted(Path(file)) else None}
        case _:
            sys.exit(__doc__)
    print(json.dumps(header))


def new_passphrase() -> str:
    """Return a passphrase that is long enough, typed twice if it comes from the terminal."""
    passphrase = from_file()
    if passphrase is None:
        passphrase = ask("Passphrase for the backup: ")
        if len(passphrase) >= MIN_LENGTH and ask("Repeat the passphrase: ") != passphrase:
            sys.exit("error: The passphrases differ. Nothing was written.")
    if len(passphrase) < MIN_LENGTH:
        sys.exit(
            f"error: The passphrase has {len(passphrase)} characters: use at least {MIN_LENGTH}."
        )
    return passphrase


def known_passphrase() -> str:
    """Return the passphrase of an existing backup."""
    passphrase = from_file()
    return ask("Passphrase of the backup: ") if passphrase is None else passphrase


def from_file() -> str | None:
    """Return what BACKUP_PASSPHRASE_FILE holds, or ``None`` if it is not set."""
    name = os.environ.get("BACKUP_PASSPHRASE_FILE")
    if not name:
        return None
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        sys.exit(f"error: BACKUP_PASSPHRASE_FILE is {name}, which cannot be read: {reason}.")


def ask(prompt: str) -> str:
    """Ask on the terminal, also where stdin is another file; exit if the user leaves the prompt."""
    if not has_terminal():
        sys.exit(f"error: A passphrase is needed. {HOW}")
    try:
        return getpass.getpass(prompt)
    except (EOFError, KeyboardInterrupt):
        sys.exit("\nerror: No passphrase was given. Nothing was changed.")


def has_terminal() -> bool:
    """Return whether there is a terminal to ask on."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def is_encrypted(file: Path) -> bool:
    """Return whether a backup is encrypted; exit if the file is not one."""
    try:
        with tarfile.open(file, "r:") as tar:
            first = tar.next()
    except (OSError, tarfile.TarError) as error:
        sys.exit(f"error: {file} is not a backup of this stack: {error}.")
    if first is None or first.name not in ("key.age", "manifest.json"):
        sys.exit(f"error: {file} is not a backup of this stack.")
    return first.name == "key.age"


if __name__ == "__main__":
    main()
