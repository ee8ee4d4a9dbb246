"""Logins that the server can end, counters of failed logins, and private email addresses.

Containers of the previous version work with the tables both before and after this migration: during
a rolling update they keep running beside those of this version.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLD_HASH = sa.text("substr(password_hash, 1, 7) <> '$argon2'")
OLD_COOKIES = timedelta(days=31)  # how long Flask accepts a session of the previous version


def upgrade() -> None:
    """Add the tables ``login`` and ``login_attempts``; let two accounts have one address."""
    until = (datetime.now(UTC) + OLD_COOKIES).strftime("%Y-%m-%d %H:%M:%S+00:00")
    with op.batch_alter_table("user") as user:
        user.drop_constraint("uq_user_email_lower", type_="unique")
        # Only the previous version writes this column.
        user.alter_column("email_lower", existing_type=sa.String(length=120), nullable=True)
        # The default is for existing accounts, and for those that the previous version still
        # creates: their cookies hold no token yet.
        user.add_column(
            sa.Column(
                "old_cookies_until",
                sa.DateTime(timezone=True),
                server_default=until,
                nullable=True,
            )
        )
    op.create_index(
        "ix_user_old_hash",
        "user",
        ["id"],
        postgresql_where=OLD_HASH,
        sqlite_where=OLD_HASH,
    )
    op.create_table(
        "login",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name="fk_login_user_id_user", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name="pk_login"),
    )
    op.create_index("ix_login_user_id", "login", ["user_id"])
    op.create_index("ix_login_expires", "login", ["expires"])
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("latest", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_login_attempts"),
    )
    op.create_index("ix_login_attempts_latest", "login_attempts", ["latest"])


def downgrade() -> None:
    """Drop the tables, and make addresses unique again; fails if two accounts share one."""
    op.drop_table("login_attempts")
    op.drop_table("login")
    op.execute(sa.text('UPDATE "user" SET email_lower = lower(email)'))
    op.drop_index("ix_user_old_hash", table_name="user")
    with op.batch_alter_table("user") as user:
        user.drop_column("old_cookies_until")
        user.alter_column("email_lower", existing_type=sa.String(length=120), nullable=False)
        user.create_unique_constraint("uq_user_email_lower", ["email_lower"])
