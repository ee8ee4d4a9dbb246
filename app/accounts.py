"""Finds accounts by name or id, and keeps names unique."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.exc import IntegrityError

from . import side_effects
from .database import db
from .forms import Form
from .models import OLD_HASH, USERNAME_LENGTH, User

# Not "." or "..": browsers remove them from the end of an address.
USERNAME_PATTERN: Final = re.compile(rf"(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,{USERNAME_LENGTH}}}\Z")

# Built once: every user page runs this query.
USER_BY_NAME: Final = select(User).where(User.username_lower == bindparam("name"))

TAKEN_MESSAGE: Final = "Please use a different username."
# What PostgreSQL calls the constraint, and SQLite the column.
UNIQUE_NAMES: Final = (
    "uq_user_username_lower",
    "UNIQUE constraint failed: user.username_lower",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login is checked against; without an account, ``user_id`` is ``None``."""

    user_id: int | None
    password_hash: str | None
    any_old_hash: bool  # whether some account still has a hash of an old scheme


def by_name(name: str) -> User | None:
    """Return the user called ``name``, ignoring case, or ``None``; also for an invalid name."""
    if not USERNAME_PATTERN.match(name):
        return None
    return db.session.scalar(USER_BY_NAME, {"name": name.lower()})


def credentials(name: str) -> Credentials:
    """Return the credentials of the account called ``name``.

    The query always returns one row, so that its time does not show whether there is an account.
    """
    lower = name.lower() if USERNAME_PATTERN.match(name) else ""
    account = select(User).where(User.username_lower == lower)
    row = db.session.execute(
        select(
            account.with_only_columns(User.id).scalar_subquery(),
            account.with_only_columns(User.password_hash).scalar_subquery(),
            exists(select(User.id).where(OLD_HASH)),
        )
    ).one()
    return Credentials(*row)


def renew_hash(account: Credentials, password_hash: str) -> None:
    """Store another hash of the same password, unless the password has just been changed."""
    unchanged = (User.id == account.user_id, User.password_hash == account.password_hash)
    side_effects.write(update(User).where(*unchanged).values(password_hash=password_hash))


def by_id(text: str) -> User | None:
    """Return the user whose id is ``text``, or ``None``; also for an invalid id."""
    if not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    return db.session.get(User, int(text))


def commit(form: Form) -> bool:
    """Commit the session; return ``False``, with an error on ``form``, if the name is taken.

    Another request can take the name between the form's check and this commit. The visitor
    then gets the same message as from the check. Raises
    :exc:`~sqlalchemy.exc.IntegrityError` for any other constraint.
    """
    try:
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        diagnostics = getattr(error.orig, "diag", None)  # psycopg2 only
        broken = str(error.orig) if diagnostics is None else str(diagnostics.constraint_name)
        if broken not in UNIQUE_NAMES:
            raise
        form.set_error("username", TAKEN_MESSAGE)
        return False
    return True
