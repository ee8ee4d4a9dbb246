"""Hashes and checks passwords, at most two at a time, so that logins do not slow other pages."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from werkzeug.security import check_password_hash

# Argon2id with the parameters that OWASP recommends: 19 MiB of memory and two passes.
# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
ARGON2: Final = "$argon2"  # what its hashes begin with
SLOTS: Final = 2  # hashes at a time in each worker process
SLOT_TIMEOUT: Final = 1.0  # seconds that a login waits for a slot
NEW_TIMEOUT: Final = 5.0  # a new password waits longer: its form would be lost

# Hashes of passwords that nobody knows, checked where there is no hash to check. The second has
# Werkzeug's scheme, which earlier versions of the blog used.
DUMMY: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$hsdEHSd0z8mW5ZTp95a8Qw$"
    "/xeEhC/UWA98pEmTJa5ADFVZiNzmco6VpSj1cjVT1BU"
)
OLD_DUMMY: Final = (
    "scrypt:32768:8:1$XrmA8y1xitG6QonL$63649416e251b44eff5fb83308103970229cbf64065b9aa8252e577fbf1c"
    "4f33bdac435dc708fa791cac057aefa2544f46401ddb5b9351f08b0eff4c579d11ec"
)

Result = TypeVar("Result")

_slots = BoundedSemaphore(SLOTS)
# A thread that has computed a hash keeps the memory for it. So only these threads compute hashes,
# and not every thread of the server.
_threads = ThreadPoolExecutor(SLOTS, "password")


class TooManyLoginsError(Exception):
    """All hash slots stayed in use for as long as a request may wait."""


def hash_password(password: str) -> str:
    """Return a salted hash of ``password``; raise :exc:`TooManyLoginsError` if no slot is free."""
    return in_slot(lambda: HASHER.hash(password), NEW_TIMEOUT)


def check_password(password: str, stored: str | None, *, with_old: bool = False) -> str | None:
    """Return the hash to store from now on if ``password`` is right, or ``None`` if it is wrong.

    That is ``stored``, or a new hash if ``stored`` has an old scheme or old parameters. ``stored``
    is ``None`` for an unknown name. The check then takes as long as for a known one: ``with_old``
    says that some account still has an old hash, so a hash of each scheme is computed for all.

    Raises :exc:`TooManyLoginsError` if no slot is free.
    """
    return in_slot(lambda: _check(password, stored, with_old), SLOT_TIMEOUT)


def _check(password: str, stored: str | None, with_old: bool) -> str | None:
    new = stored if stored is not None and stored.startswith(ARGON2) else None
    old = stored if new is None else None
    matches_new = _matches_new(new or DUMMY, password)
    matches_old = (with_old or old is not None) and check_password_hash(old or OLD_DUMMY, password)
    if old is not None and matches_old:
        return HASHER.hash(password)
    if new is None or not matches_new:
        return None
    return HASHER.hash(password) if HASHER.check_needs_rehash(new) else new


def _matches_new(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except VerifyMismatchError:
        return False


def in_slot(compute: Callable[[], Result], timeout: float) -> Result:
    """Return ``compute()``, run by one of the ``SLOTS`` threads.

    Raises :exc:`TooManyLoginsError` if all are busy for ``timeout`` seconds.
    """
    if not _slots.acquire(timeout=timeout):
        raise TooManyLoginsError(f"no hash slot was free within {timeout:g} s")
    try:
        return _threads.submit(compute).result()
    finally:
        _slots.release()
