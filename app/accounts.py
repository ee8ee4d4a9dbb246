"""Accounts: find one by what somebody typed, and keep names and addresses unique."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from .database import db
from .forms import Form
from .models import USERNAME_LENGTH, User

# "." and ".." would match too, but as the last part of an address a browser takes them away.
USERNAME: Final = re.compile(rf"(?!\.{{1,2}}\Z)[A-Za-z0-9_.-]{{1,{USERNAME_LENGTH}}}\Z")

TAKEN: Final = {
    "username": "Please use a different username.",
    "email": "Please use a different email address.",
}


def by_name(name: str) -> User | None:
    """Return the user called ``name``, whatever its case; None for what can be no name."""
    if not USERNAME.match(name):
        return None
    return db.session.scalar(select(User).where(User.username_lower == name.lower()))


def by_email(email: str) -> User | None:
    """Return the user with this address, whatever its case."""
    return db.session.scalar(select(User).where(User.email_lower == email.lower()))


def by_id(text: str) -> User | None:
    """Return the user with the id that a cookie names; None for what can be no id."""
    if not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    return db.session.get(User, int(text))


def commit(form: Form) -> bool:
    """Commit what ``form`` has changed, and tell whether that was possible.

    Between the form's own check and this commit another request can have taken the name. The
    database then refuses; the visitor gets the same message as from the check. Raises
    :exc:`~sqlalchemy.exc.IntegrityError` for any other constraint.
    """
    try:
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        field = _taken(error)
        if field is None:
            raise
        form.refuse(field, TAKEN[field])
        return False
    return True


def _taken(error: IntegrityError) -> str | None:
    """Return the form's field whose value broke a unique constraint, if that is what happened."""
    diagnostics = getattr(error.orig, "diag", None)  # psycopg2's; SQLite names the column only
    broken = str(error.orig) if diagnostics is None else str(diagnostics.constraint_name)
    for field in TAKEN:
        if broken in (f"uq_user_{field}_lower", f"UNIQUE constraint failed: user.{field}_lower"):
            return field
    return None
