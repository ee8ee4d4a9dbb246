"""What Microblog keeps: users and their posts."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from .database import db

USERNAME_LENGTH = 64
EMAIL_LENGTH = 120
ABOUT_ME_LENGTH = 140
POST_LENGTH = 140


def now() -> datetime:
    """Return the time with its zone, UTC."""
    return datetime.now(UTC)


class User(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who has registered. Names and addresses are unique without regard to case."""

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(USERNAME_LENGTH))
    username_lower: Mapped[str] = mapped_column(String(USERNAME_LENGTH), unique=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH))
    email_lower: Mapped[str] = mapped_column(String(EMAIL_LENGTH), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(256))
    about_me: Mapped[str] = mapped_column(String(ABOUT_ME_LENGTH), default="")
    last_seen: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)

    posts: Mapped[list[Post]] = relationship(back_populates="author", passive_deletes=True)

    @validates("username", "email")
    def _fold(self, key: str, value: str) -> str:
        setattr(self, f"{key}_lower", value.lower())
        return value

    def __repr__(self) -> str:
        return f"<User {self.id}>"


class Post(db.Model):  # type: ignore[name-defined,misc]
    """A short text by a user."""

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(String(POST_LENGTH))
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"))

    author: Mapped[User] = relationship(back_populates="posts")

    # Timelines are read newest first, page after page, by id.
    __table_args__ = (Index("ix_post_user_id_id", "user_id", "id"),)

    def __repr__(self) -> str:
        return f"<Post {self.id}>"
