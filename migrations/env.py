"""Alembic's environment: migrates the app's own database, logging to the app's own log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context
from flask import current_app

migrate = current_app.extensions["migrate"]


def run() -> None:
    """Run the migrations in one transaction, so that a failed one leaves nothing behind."""
    with migrate.db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            # A migration may take longer than a request. But it must not wait long for a lock:
            # meanwhile the requests that need the same table wait too.
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.text("SET lock_timeout = '5s'"))
            connection.commit()  # or Alembic would leave the commit of the migrations to us
        context.configure(
            connection=connection,
            target_metadata=migrate.db.metadata,
            **migrate.configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Migrations need a connection to the database: leave out --sql.")
run()
