"""Slows down the guessing of passwords: refuses logins for a while after several have failed.

Failures are counted in the database, so that all workers and containers share the counters. A
refusal lasts at most ``MAX_DELAY`` seconds, and refused logins are not counted: nobody can lock an
account.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from flask import current_app
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

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


def count_login(limits: Sequence[Limit]) -> int:
    """Count a login as failed, unless it is refused; return for how many seconds it is refused.

    It is counted before the password is checked: otherwise, many guesses at the same moment would
    all be allowed. Call :func:`undo_count` unless the password is wrong. Returns 0 if the login may
    go on, also if the counters cannot be used.
    """
    if not current_app.config["LOGIN_LIMITS"]:
        return 0
    moment = now()
    try:
        counters = [(_locked(limit.key, moment), limit) for limit in limits]
        ends = [counter.latest + limit.delay(counter.count) for counter, limit in counters]
        wait = max(0, *(ceil((end - moment).total_seconds()) for end in ends))
        if not wait:
            for counter, _ in counters:
                counter.count += 1
                counter.latest = moment
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        logger.warning("Failed logins cannot be counted: %s", type(error).__name__)
        return 0
    return wait


def undo_count(limits: Sequence[Limit], *, is_right: bool) -> None:
    """Undo :func:`count_login` for a login that has not failed; delete outdated counters.

    ``is_right`` says that the password was right, otherwise it could not be checked: only a right
    one resets counters.
    """
    if not current_app.config["LOGIN_LIMITS"]:
        return
    outdated = LoginAttempts.latest < now() - MEMORY
    try:
        for limit in limits:
            own = LoginAttempts.key == limit.key
            if limit.resets and is_right:
                db.session.execute(delete(LoginAttempts).where(own))
            else:
                one_less = update(LoginAttempts).values(count=LoginAttempts.count - 1)
                db.session.execute(one_less.where(own, LoginAttempts.count > 0))
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
