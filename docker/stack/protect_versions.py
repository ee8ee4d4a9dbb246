"""Revokes the right of web's role to write Alembic's table, which the migrations have created.

Runs after the migrations, as the owner of the tables.
"""

from __future__ import annotations

import os
from pathlib import Path

WRITABLE = """
    SELECT table_schema, table_name, grantee FROM information_schema.role_table_grants
    WHERE table_name = 'alembic_version' AND grantee IN ('microblog_web', 'app_web')
    AND privilege_type = 'UPDATE'
"""


def main() -> None:
    """Revoke the right; do nothing without SQLAlchemy, which Alembic needs, or PostgreSQL."""
    try:
        import sqlalchemy as sa
        from sqlalchemy.engine import make_url
    except ImportError:
        return
    url = make_url(os.environ.get("DATABASE_URL") or "sqlite://")
    if not url.drivername.startswith("postgresql"):
        return
    if "POSTGRES_PASSWORD_FILE" in os.environ:  # the demo; another app has all of it in its URL
        url = url.set(
            drivername="postgresql+psycopg2",
            username=secret("POSTGRES_USER"),
            password=secret("POSTGRES_PASSWORD"),
        )
    engine = sa.create_engine(url)
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        for schema, table, role in connection.execute(sa.text(WRITABLE)).all():
            name = f"{quote(schema)}.{quote(table)}"
            rights = "INSERT, UPDATE, DELETE"
            connection.execute(sa.text(f"REVOKE {rights} ON {name} FROM {quote(role)}"))


def secret(name: str) -> str:
    """Return the contents of the file that ``<name>_FILE`` names."""
    return Path(os.environ[f"{name}_FILE"]).read_text().rstrip("\r\n")


if __name__ == "__main__":
    main()
