"""Encrypts a stream with a passphrase, in the format of age (https://age-encryption.org).

age's library takes a passphrase only for data in memory. So the data is encrypted for a key made
for this one file, and the key with the passphrase. `age` itself can read both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import pipe
from typing import BinaryIO

import pyrage

from .errors import BackupError

# The library refuses a key that would take this machine too long to derive. It measures how fast
# the machine is, so on a busy one the answer differs from one moment to the next.
TRIES = 5
PAUSE = 3.0  # seconds
TOO_SLOW = "Excessive work"


def encrypt(write_plain: Callable[[BinaryIO], None], target: BinaryIO, passphrase: str) -> bytes:
    """Encrypt what ``write_plain`` writes into ``target``; return the encrypted key.

    Raises what ``write_plain`` raises.
    """
    identity = pyrage.x25519.Identity.generate()
    with _background(write_plain) as plain:
        pyrage.encrypt_io(plain, target, [identity.to_public()])
    return bytes(pyrage.passphrase.encrypt(f"{identity}\n".encode(), passphrase))


@contextmanager
def decrypted(source: BinaryIO, key: bytes, passphrase: str) -> Iterator[BinaryIO]:
    """Yield what :func:`encrypt` has encrypted, as a file to read.

    Raises :exc:`BackupError` if the passphrase is wrong, or, also at the end of the block, if
    the data is damaged or cut off.
    """
    identity = _identity(key, passphrase)

    def decrypt(plain: BinaryIO) -> None:
        try:
            pyrage.decrypt_io(source, plain, [identity])
        except BrokenPipeError:
            pass  # the reader has found another error
        except (pyrage.DecryptError, OSError) as error:
            raise BackupError("The file is damaged or cut off.") from error

    with _background(decrypt) as plain:
        yield plain


def _identity(key: bytes, passphrase: str) -> pyrage.x25519.Identity:
    for _ in range(TRIES):
        try:
            text = pyrage.passphrase.decrypt(key, passphrase)
            return pyrage.x25519.Identity.from_str(text.decode().strip())
        except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
            if TOO_SLOW not in str(error):
                raise BackupError("The passphrase is wrong, or the file is damaged.") from error
        time.sleep(PAUSE)
    raise BackupError(
        "This machine is too busy or too slow to derive the key. Try again later, or decrypt the "
        "file with age, which has no such limit (docs/operations.md)."
    )


@contextmanager
def _background(write: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """Run ``write`` in a thread and yield what it writes as a file; raise what it raises."""
    reader, writer = pipe()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with open(writer, "wb") as target:
                write(target)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with open(reader, "rb") as source:
        try:
            yield source
        except BaseException as error:
            # The reader's error may only be a consequence of the writer's, so raise that one.
            with suppress(OSError):
                source.close()
            thread.join()
            for failure in failures:
                if not isinstance(failure, BrokenPipeError):
                    raise failure from error
            raise
        while source.read(1 << 16):
            pass
    thread.join()
    if failures:
        raise failures[0]
