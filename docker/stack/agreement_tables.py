"""Makes the tables in which the couriers of several machines agree, as the owner of the database.

They are in a schema of their own, outside the app's migrations. Repeatable.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import psycopg2

from flask_mayday.agreement.tables import TABLES


def main() -> None:
    """Make the tables, or exit with what is missing."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        sys.exit("COURIERS_AGREE needs PostgreSQL: set COURIERS_AGREE=0, or remove DATABASE=none.")
    user = password = None
    if "POSTGRES_PASSWORD_FILE" in os.environ:  # the demo; another app has all of it in its URL
        user, password = secret("POSTGRES_USER"), secret("POSTGRES_PASSWORD")
    address = re.sub(r"^postgres\w*(\+\w+)?:", "postgresql:", url)
    try:
        connection = psycopg2.connect(address, user=user, password=password, connect_timeout=10)
        with connection, connection.cursor() as cursor:
            cursor.execute(TABLES)
    except psycopg2.Error as error:
        sys.exit(f"The tables for COURIERS_AGREE cannot be created: {error}")


def secret(name: str) -> str:
    """Return the contents of the file that ``<name>_FILE`` names."""
    return Path(os.environ[f"{name}_FILE"]).read_text().rstrip("\r\n")


if __name__ == "__main__":
    main()
