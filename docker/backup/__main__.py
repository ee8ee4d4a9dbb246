"""The steps of `make backup` and `make restore`: python -m backup STEP <header and data.

The first line of the input is a JSON object with the ``passphrase`` (null: plain), and for
``create`` with the ``manifest``. Then comes the dump of the database for ``create``, and the backup
for the steps that read one.

    create     writes the backup to stdout
    check      reads all of a backup, and prints what is in it
    dump       writes the database's dump to stdout
    unpack     unpacks the folders beside those in use
    swap       puts the unpacked folders in place
    is-swapped succeeds if a swap was neither undone nor made final
    put-back   undoes swap
    commit     deletes the folders that were replaced
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import volume_owner

from . import archive, trees
from .errors import BackupError

DUMP = "database.dump"


def main() -> None:
    """Run the step that the command line names; exit with a message if it fails."""
    step = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if step == "create":
            create(sys.stdin.buffer, sys.stdout.buffer)
        elif step in READING:
            READING[step](sys.stdin.buffer)
        elif step == "is-swapped":
            sys.exit(not trees.is_swapped(trees.FOLDERS))
        elif step in ("swap", "put-back", "commit"):
            replace(step)
        else:
            sys.exit(__doc__)
    except (BackupError, OSError) as error:  # such as a disk that is full
        sys.exit(str(error))


def create(source: BinaryIO, target: BinaryIO) -> None:
    """Write a backup of the volumes and of the dump in ``source``, if there is one."""
    header = read_header(source)
    passphrase = header["passphrase"]
    with tempfile.TemporaryDirectory() as temporary:
        dump = Path(temporary, DUMP)
        with dump.open("wb") as file:
            shutil.copyfileobj(source, file)

        def add(writer: archive.Writer) -> None:
            if dump.stat().st_size:
                writer.add_file(DUMP, dump)
            trees.add_all(writer, trees.FOLDERS, plain=passphrase is None)

        manifest = {
            **header["manifest"],
            "app": owner(),
            "encrypted": passphrase is not None,
            "database": dump.stat().st_size > 0,
        }
        archive.write(target, manifest, add, passphrase)


def check(source: BinaryIO) -> None:
    """Verify the whole backup and that it is of this app; print its manifest as JSON."""
    header = read_header(source)
    with archive.open_archive(source, header["passphrase"]) as (manifest, members):
        if manifest.get("app") != owner():
            raise BackupError(
                f"The backup belongs to {manifest.get('app')}, and this stack runs {owner()}. Set "
                "APP_DIR and APP to run that app."
            )
        for _ in members:
            pass
    print(json.dumps(manifest))


def write_dump(source: BinaryIO) -> None:
    """Write the dump of the database to stdout."""
    header = read_header(source)
    with archive.open_archive(source, header["passphrase"]) as (_, members):
        for info, content in members:
            if info.name == DUMP:
                while part := content.read(1 << 20):
                    sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def unpack(source: BinaryIO) -> None:
    """Unpack the folders beside those in use. An interrupted restore must have been undone."""
    header = read_header(source)
    trees.delete_unpacked(trees.FOLDERS)
    with archive.open_archive(source, header["passphrase"]) as (_, members):
        for info, content in members:
            trees.unpack(trees.FOLDERS, info, content)


def replace(step: str) -> None:
    """Replace the folders, undo that, or make it final."""
    if step == "put-back":
        trees.put_back(trees.FOLDERS)
    elif step == "commit":
        trees.commit(trees.FOLDERS)
    elif kept := trees.swap(trees.FOLDERS):
        reports = "1 report" if kept == 1 else f"{kept} reports"
        print(f"{reports} that nobody had received yet stay in the spool.")


def owner() -> str:
    """Return the app that the volumes belong to, or without data the one that would run."""
    try:
        return (trees.FOLDERS[trees.SECRETS] / volume_owner.FILE).read_text().strip()
    except FileNotFoundError:
        return str(volume_owner.App.from_environment())


def read_header(source: BinaryIO) -> Any:
    """Return the first line of the input."""
    return json.loads(source.readline())


READING: dict[str, Callable[[BinaryIO], None]] = {
    "check": check,
    "dump": write_dump,
    "unpack": unpack,
}

if __name__ == "__main__":
    main()
