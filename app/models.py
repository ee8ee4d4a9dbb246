"""The database models: users and their posts."""

from __future__ import annotations

from datetime import UTC, datetime

from flask_login import UserMixin
from sqlalchemy import DateTime, Dialect, ForeignKey, Index, String, TypeDecorator
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates
from werkzeug.security import check_password_hash, generate_password_hash

from .database import db

USERNAME_LENGTH = 64
EMAIL_LENGTH = 120
ABOUT_ME_LENGTH = 140
POST_LENGTH = 140


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
    """A registered user. Usernames and email addresses are unique regardless of case."""

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH))
    username_lower: Mapped[str] = mapped_column(String(USERNAME_LENGTH), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH))
    email_lower: Mapped[str] = mapped_column(String(EMAIL_LENGTH), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(256))
    about_me: Mapped[str] = mapped_column(String(ABOUT_ME_LENGTH), default="")
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    posts: Mapped[list[Post]] = relationship(back_populates="author", passive_deletes=True)

    @validates("username", "email")
    def _set_lowercase(self, key: str, value: str) -> str:
        setattr(self, f"{key}_lower", value.lower())
        return value

    def set_password(self, password: str) -> None:
        """Store a salted hash of ``password``; the password itself is not stored."""
        self.password_hash = generate_password_hash(password)

    def check_password(self, password: str) -> bool:
        """Return whether ``password`` matches the stored hash."""
        return self.password_hash is not None and check_password_hash(self.password_hash, password)

    def __repr__(self) -> str:
        return f"<User {self.id}>"


class Post(db.Model):  # type: ignore[name-defined,misc]
    """A post of at most 140 characters."""

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(String(POST_LENGTH))
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))

    author: Mapped[User] = relationship(back_populates="posts")

    # For the timeline of one user, which is read by id.
    __table_args__ = (Index("ix_post_user_id_id", "user_id", "id"),)

    def __repr__(self) -> str:
        return f"<Post {self.id}>"
