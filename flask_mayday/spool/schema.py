"""The schema of the spool's database, version 6 (``PRAGMA user_version``).

Old and new containers share the file while they are replaced, so later versions only add.

``reports``
    One row per error: ``uuid`` (unique: a report that arrives twice is kept once), ``time``,
    ``fingerprint``, ``request_id``, ``body`` (the report as JSON, redacted), ``mailable`` (0:
    recorded while mail was off, or hidden: never mailed), ``mail_id`` (the mail that reports or
    counts it, NULL until there is one). Since version 5 ``hidden`` (muted, ignored, or NULL).
``mails``
    One row per mail: ``message_id`` (never changes), ``kind`` (report, digest, summary, notice),
    ``fingerprint`` (NULL for summaries and notices), ``created``, ``count`` (errors in it),
    ``subject``, ``content`` (the whole message as it is sent), ``recipients`` (JSON: who has not
    received it yet), ``state`` (waiting, delivered, failed), ``tries``, ``next_try``,
    ``finished``, ``error`` (the mail server's last answer). Since version 3 ``notice_id``: the
    notice that says that the server refused this mail. Since version 5 the kind ``weekly``, the
    state ``off`` (there is no mail server: only the webhook gets it) and ``source`` (the route or
    logger of the error).
``counters``
    Since version 2, ``name`` and ``value``: ``dropped``, errors that were deleted without a mail
    and not yet counted in one; ``epoch``, the number of the courier that may write; a row per
    damaged database whose contents have been copied; and ``unconfirmed ID``, how often the mail of
    that id may have been delivered. Since version 5 ``unposted``, errors that were deleted without
    a message to the webhook, ``grouped``, up to which id the reports are in ``error_groups``, the
    ``week_…`` counters of the weekly summary, and ``release NAME`` with the time at which a courier
    of that release last started; ``mails_delivered``, ``mails_refused`` and ``posts_delivered`` for
    metrics, which only grow.
``outages``
    Since version 4, one row for each time that the site was down: ``began`` (unique), ``ended``
    (NULL while it is down), ``pages`` (the error pages that nginx sent in the app's place).

Since version 5:

``error_groups``
    One row per fingerprint: see :class:`.error_group.ErrorGroup`.
``fingerprint_aliases``
    ``alias``, another fingerprint of the group ``fingerprint``, such as that of a later algorithm.
``ignore_rules``
    One row per rule: see :class:`.ignore_rules.IgnoreRule`.
``posts``
    One row per message to the webhook: ``key`` (never changes; sent as the Idempotency-Key),
    ``kind``, ``fingerprint``, ``created``, ``count``, ``message`` (JSON), ``state`` (waiting,
    delivered), ``tries``, ``next_try``, ``finished``, ``error``.

Since version 6, for the agreement of several machines (see :mod:`.handovers`):

``claims``
    One row per mail that the others know of: ``mail_id``, ``window_number`` (of the window that the
    mail opens) and ``previous`` (of the one whose counts it reports). A mail of the kind and state
    ``elsewhere`` stands for one that another machine makes: it holds the errors that were counted
    in the window ``previous``, and has no ``window_number`` until it is known.
``windows``
    The current window of each ``fingerprint`` (empty: of summaries) as far as it is known here:
    ``window_number``, ``opened``, and whether its mail ``is_sent``.

Times are in seconds since the epoch.
"""

from __future__ import annotations

import sqlite3
from typing import Final

VERSION: Final = 6

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
    """CREATE TABLE IF NOT EXISTS error_groups (
        fingerprint TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        title TEXT NOT NULL,
        source TEXT NOT NULL,
        count INTEGER NOT NULL,
        hidden INTEGER NOT NULL,
        mails INTEGER NOT NULL,
        first_seen REAL NOT NULL,
        last_seen REAL NOT NULL,
        first_release TEXT NOT NULL,
        last_release TEXT NOT NULL,
        state_before TEXT NOT NULL,
        muted_at REAL,
        muted_until REAL,
        muted_release TEXT NOT NULL,
        muted_count INTEGER NOT NULL,
        resolved_at REAL,
        resolved_release TEXT NOT NULL,
        back_at REAL,
        back_unsaid INTEGER NOT NULL,
        week_count INTEGER NOT NULL,
        week_hidden INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS error_groups_last_seen ON error_groups(last_seen)",
    """CREATE TABLE IF NOT EXISTS fingerprint_aliases (
        alias TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS ignore_rules (
        id INTEGER PRIMARY KEY,
        created REAL NOT NULL,
        exception TEXT NOT NULL,
        logger TEXT NOT NULL,
        route TEXT NOT NULL,
        message TEXT NOT NULL,
        hidden INTEGER NOT NULL DEFAULT 0,
        last_hidden REAL
    )""",
    """CREATE TABLE IF NOT EXISTS posts (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        fingerprint TEXT,
        created REAL NOT NULL,
        count INTEGER NOT NULL,
        message TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting',
        tries INTEGER NOT NULL DEFAULT 0,
        next_try REAL NOT NULL,
        finished REAL,
        error TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS posts_due ON posts(next_try) WHERE state = 'waiting'",
    """CREATE TABLE IF NOT EXISTS claims (
        mail_id INTEGER PRIMARY KEY,
        window_number INTEGER,
        previous INTEGER
    )""",
    """CREATE TABLE IF NOT EXISTS windows (
        fingerprint TEXT PRIMARY KEY,
        window_number INTEGER NOT NULL,
        opened REAL NOT NULL,
        is_sent INTEGER NOT NULL
    ) WITHOUT ROWID""",
)
# Columns that later versions have added: table, name, type.
ADDED_COLUMNS: Final = (
    ("mails", "notice_id", "INTEGER REFERENCES mails(id)"),
    ("mails", "source", "TEXT"),
    ("reports", "hidden", "TEXT"),
)


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
            # Without its white space: a schema that fits into the first page survives damage to
            # any other one.
            connection.execute(" ".join(statement.split()))
        for table, name, kind in ADDED_COLUMNS:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if name not in columns:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
        connection.execute(f"PRAGMA user_version = {max(VERSION, _version(connection))}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
