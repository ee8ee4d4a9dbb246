"""The schema of the spool's database, version 4 (``PRAGMA user_version``).

Old and new containers share the file while they are replaced, so later versions only add.

``reports``
    One row per error: ``uuid`` (unique: a report that arrives twice is kept once), ``time``,
    ``fingerprint``, ``request_id``, ``body`` (the report as JSON, redacted), ``mailable`` (0:
    recorded while mail was off, never mailed), ``mail_id`` (the mail that reports or counts it,
    NULL until there is one).
``mails``
    One row per mail: ``message_id`` (never changes), ``kind`` (report, digest, summary, notice),
    ``fingerprint`` (NULL for summaries and notices), ``created``, ``count`` (errors in it),
    ``subject``, ``content`` (the whole message as it is sent), ``recipients`` (JSON: who has not
    received it yet), ``state`` (waiting, delivered, failed), ``tries``, ``next_try``,
    ``finished``, ``error`` (the mail server's last answer). Since version 3 ``notice_id``: the
    notice that says that the server refused this mail.
``counters``
    Since version 2, ``name`` and ``value``: ``dropped``, errors that were deleted without a mail
    and not yet counted in one; ``epoch``, which courier may write; and a row per damaged database
    whose contents have been copied.
``outages``
    Since version 4, one row for each time that the site was away: ``began`` (unique), ``ended``
    (NULL while it is away), ``pages`` (the error pages that nginx sent in the app's place).

Times are in seconds since the epoch.
"""

from __future__ import annotations

import sqlite3
from typing import Final

VERSION: Final = 4

STATEMENTS: Final = (
    """CREATE TABLE IF NOT EXISTS reports (
        id INTEGER PRIMARY KEY,
        uuid TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        fingerprint TEXT NOT NULL,
        request_id TEXT,
        body TEXT NOT NULL,
        mailable INTEGER NOT NULL DEFAULT 1,
        mail_id INTEGER REFERENCES mails(id)
    )""",
    """CREATE INDEX IF NOT EXISTS reports_without_mail ON reports(fingerprint, id)
        WHERE mail_id IS NULL AND mailable""",
    """CREATE INDEX IF NOT EXISTS reports_mail_id ON reports(mail_id)
        WHERE mail_id IS NOT NULL""",
    """CREATE TABLE IF NOT EXISTS mails (
        id INTEGER PRIMARY KEY,
        message_id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        fingerprint TEXT,
        created REAL NOT NULL,
        count INTEGER NOT NULL,
        subject TEXT NOT NULL,
        content BLOB NOT NULL,
        recipients TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting',
        tries INTEGER NOT NULL DEFAULT 0,
        next_try REAL NOT NULL,
        finished REAL,
        error TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS mails_due ON mails(next_try) WHERE state = 'waiting'",
    "CREATE INDEX IF NOT EXISTS mails_created ON mails(created)",
    "CREATE INDEX IF NOT EXISTS mails_fingerprint ON mails(fingerprint, created)",
    "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS outages (
        began REAL PRIMARY KEY,
        ended REAL,
        pages INTEGER NOT NULL DEFAULT 0
    )""",
)
ADD_NOTICE_ID: Final = "ALTER TABLE mails ADD COLUMN notice_id INTEGER REFERENCES mails(id)"


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, or add what an earlier version lacks; leave a later version as it is.

    Raises :exc:`sqlite3.Error`.
    """
    if _version(connection) >= VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        for statement in STATEMENTS:
            connection.execute(statement)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(mails)")}
        if "notice_id" not in columns:
            connection.execute(ADD_NOTICE_ID)
        connection.execute(f"PRAGMA user_version = {max(VERSION, _version(connection))}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
