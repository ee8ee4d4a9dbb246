"""The database models: users, their posts and logins, and the counters of failed logins."""

from __future__ import annotations

from datetime import UTC, datetime

from flask_login import UserMixin
from sqlalchemy import DateTime, Dialect, ForeignKey, Index, String, TypeDecorator, text
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from . import passwords
from .database import db

USERNAME_LENGTH = 64
EMAIL_LENGTH = 120
ABOUT_ME_LENGTH = 140
POST_LENGTH = 140
OLD_HASH = text(f"substr(password_hash, 1, 7) <> '{passwords.ARGON2}'")


def now() -> datetime:
    """Return the current time in UTC, with its time zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is read back in UTC: SQLite drops the zone, PostgreSQL returns the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the value from the database, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class User(UserMixin, db.Model):  # type: ignore[name-defined,misc]
    """A registered user. Usernames are unique regardless of case."""

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH))
    username_lower: Mapped[str] = mapped_column(String(USERNAME_LENGTH), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH))
    password_hash: Mapped[str | None] = mapped_column(String(256))
    about_me: Mapped[str] = mapped_column(String(ABOUT_ME_LENGTH), default="")
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    # Until this time, cookies from before the table "login" existed still log this user in.
    old_cookies_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    posts: Mapped[list[Post]] = relationship(back_populates="author", passive_deletes=True)

    # For a query at each login: does any account still have a hash of Werkzeug's schemes?
    __table_args__ = (
        Index("ix_user_old_hash", "id", postgresql_where=OLD_HASH, sqlite_where=OLD_HASH),
    )

    @validates("username")
    def _set_lowercase(self, key: str, value: str) -> str:
        self.username_lower = value.lower()
        return value

    def set_password(self, password: str) -> None:
        """Store a salted hash of ``password``; the password itself is not stored."""
        self.password_hash = passwords.hash_password(password)

    def __repr__(self) -> str:
        return f"<User {self.id}>"


class Post(db.Model):  # type: ignore[name-defined,misc]
    """A post of at most 140 characters."""

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(String(POST_LENGTH))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))

    author: Mapped[User] = relationship(back_populates="posts")

    # For the timeline of one user, whose posts are read in the order of their ids.
    __table_args__ = (Index("ix_post_user_id_id", "user_id", "id"),)

    def __repr__(self) -> str:
        return f"<Post {self.id}>"


class Login(db.Model):  # type: ignore[name-defined,misc]
    """A login that has not ended. Its cookies hold a random token, the table its hash."""

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    expires: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class LoginAttempts(db.Model):  # type: ignore[name-defined,misc]
    """How many logins have failed lately, for one account or one client address."""

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    latest: Mapped[datetime] = mapped_column(UtcDateTime, index=True, default=now)
