"""Finds accounts by name, address or id, and keeps names and addresses unique."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from .database import db
from .forms import Form
from .models import USERNAME_LENGTH, User

# Not "." or "..": browsers remove them from the end of an address.
USERNAME_PATTERN: Final = re.compile(rf"(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,{USERNAME_LENGTH}}}\Z")

TAKEN_MESSAGES: Final = {
    "username": "Please use a different username.",
    "email": "Please use a different email address.",
}


def by_name(name: str) -> User | None:
    """Return the user called ``name``, ignoring case, or ``None``; also for an invalid name."""
    if not USERNAME_PATTERN.match(name):
        return None
    return db.session.scalar(select(User).where(User.username_lower == name.lower()))


def by_email(email: str) -> User | None:
    """Return the user with this email address, ignoring case, or ``None``."""
    return db.session.scalar(select(User).where(User.email_lower == email.lower()))


def by_id(text: str) -> User | None:
    """Return the user whose id is ``text``, or ``None``; also for an invalid id."""
    if not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    return db.session.get(User, int(text))


def commit(form: Form) -> bool:
    """Commit the session; return ``False``, with an error on ``form``, if a name is taken.

    Another request can take the name between the form's check and this commit. The visitor
    then gets the same message as from the check. Raises
    :exc:`~sqlalchemy.exc.IntegrityError` for any other constraint.
    """
    try:
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        field = _duplicate_field(error)
        if field is None:
            raise
        form.set_error(field, TAKEN_MESSAGES[field])
        return False
    return True


def _duplicate_field(error: IntegrityError) -> str | None:
    """Return the field whose unique constraint ``error`` is about, or ``None``."""
    diagnostics = getattr(error.orig, "diag", None)  # psycopg2 only; SQLite names just the column
    constraint = str(error.orig) if diagnostics is None else str(diagnostics.constraint_name)
    for field in TAKEN_MESSAGES:
        if constraint in (
            f"uq_user_{field}_lower",
            f"UNIQUE constraint failed: user.{field}_lower",
        ):
            return field
    return None
