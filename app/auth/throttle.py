"""Slows down the guessing of passwords: refuses logins for a while after several have failed.

Failures are counted in the database, so that all workers and containers share the counters. A
refusal lasts at most ``MAX_DELAY`` seconds, and refused logins are not counted: nobody can lock an
account.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from flask import current_app
from sqlalchemy import case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import TooManyRequests

from ..database import db
from ..models import LoginAttempts, now

MAX_DELAY: Final = 60  # seconds
MEMORY: Final = timedelta(minutes=15)  # a counter starts again after this time without a failure

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on failed logins: after ``allowed`` failures, each further login is delayed.

    ``name`` identifies the counter of the failures. A successful login sets it to zero if
    ``resets``, and otherwise leaves it as it was.
    """

    name: str
    allowed: int
    resets: bool

    @property
    def key(self) -> str:
        """The counter's key in the database. It is a hash: a name may be a mistyped password."""
        secret = str(current_app.config["SECRET_KEY"]).encode()
        return hmac.digest(secret, self.name.encode(), "sha256").hex()

    def delay(self, failures: int) -> timedelta:
        """Return how long logins are refused after the last of ``failures`` failed ones."""
        if failures < self.allowed:
            return timedelta(0)
        return timedelta(seconds=min(2 ** min(failures - self.allowed, 10), MAX_DELAY))


@dataclass(frozen=True, slots=True)
class CountedLogin:
    """A login that :func:`count_login` has counted as failed.

    ``moment`` is the time of this login. ``counted`` has, for each counter, its key, whether a
    right password resets it, and when it last counted an earlier login.
    """

    moment: datetime
    counted: Sequence[tuple[str, bool, datetime]] = ()


def count_login(limits: Sequence[Limit]) -> CountedLogin:
    """Count a login as failed. Call :func:`undo_count` unless the password is wrong.

    It is counted before the password is checked: otherwise, many guesses at the same moment would
    all be allowed. If the counters cannot be used, nothing is counted. Raises
    :exc:`~werkzeug.exceptions.TooManyRequests`, and counts nothing, if the login is refused.
    """
    login = CountedLogin(now())
    if not current_app.config["LOGIN_LIMITS"]:
        return login
    try:
        counters = [(_locked(limit.key, login.moment), limit) for limit in limits]
        ends = [counter.latest + limit.delay(counter.count) for counter, limit in counters]
        wait = max(0, *(ceil((end - login.moment).total_seconds()) for end in ends))
        counted = [(counter.key, limit.resets, counter.latest) for counter, limit in counters]
        if not wait:
            for counter, _ in counters:
                counter.count += 1
                counter.latest = login.moment
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.warning("Failed logins cannot be counted: %s", type(error).__name__)
        return login
    if wait:
        unit = "second" if wait == 1 else "seconds"
        message = f"Too many failed logins. Try again in {wait} {unit}."
        raise TooManyRequests(message, retry_after=wait)
    return replace(login, counted=counted)


def undo_count(login: CountedLogin, *, is_right: bool) -> None:
    """Undo :func:`count_login` for a login that has not failed; delete outdated counters.

    ``is_right`` says whether the password was right. If not, it could not be checked, and no
    counter is set to zero.
    """
    if not login.counted:
        return
    outdated = LoginAttempts.latest < now() - MEMORY
    # Another login that has been counted meanwhile keeps its time.
    is_latest = LoginAttempts.latest == login.moment
    try:
        for key, resets, former in login.counted:
            own = LoginAttempts.key == key
            if resets and is_right:
                db.session.execute(delete(LoginAttempts).where(own))
            else:
                undone = update(LoginAttempts).where(own, LoginAttempts.count > 0)
                latest = case((is_latest, former), else_=LoginAttempts.latest)
                db.session.execute(undone.values(count=LoginAttempts.count - 1, latest=latest))
        db.session.commit()
        # Without waiting for counters that other logins have locked.
        free = select(LoginAttempts.key).where(outdated).with_for_update(skip_locked=True)
        db.session.execute(delete(LoginAttempts).where(LoginAttempts.key.in_(free)))
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.warning("Failed logins cannot be counted: %s", type(error).__name__)


def _locked(key: str, moment: datetime) -> LoginAttempts:
    """Return a counter, locked until the end of the transaction."""
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    made = dialect.insert(LoginAttempts).values(key=key, count=0, latest=moment)
    # The update changes nothing, but locks the row.
    locked = made.on_conflict_do_update(index_elements=["key"], set_={"key": key})
    counter: LoginAttempts = db.session.scalars(locked.returning(LoginAttempts)).one()
    if counter.latest < moment - MEMORY:
        counter.count = 0
    # A clock may be set back, and those of several machines differ.
    counter.latest = min(counter.latest, moment)
    return counter
