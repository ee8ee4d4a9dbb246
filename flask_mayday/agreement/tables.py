"""The two tables of the agreement. The database's owner creates them before the app starts.

``claim``
    One row per mail. ``window`` is its number, unique and increasing: the time on the database's
    clock in microseconds. ``fingerprint`` is the error's, empty for a summary of several. ``node``
    makes the mail; another node takes it over if ``renewed_at`` is old and ``sent_at`` is not set.
    ``previous`` is the window before, whose counts the mail reports. ``source`` is the route or
    logger, for a fair share of the hourly cap.
``count``
    How many errors of ``fingerprint`` a node has recorded in a window and not reported, as an
    absolute ``number``, so that writing it twice does no harm. ``first`` and ``last`` are their
    times in seconds since the epoch, ``title`` the masked title of the error.

Counts are kept until the mail that has them is sent, at most for a week. Claims are kept for eight
days, and for 60 days if their mail was not sent.
"""

from __future__ import annotations

from typing import Final

TABLES: Final = """
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS mayday;
CREATE TABLE IF NOT EXISTS mayday.claim (
    "window" bigint PRIMARY KEY,
    fingerprint text NOT NULL,
    node text NOT NULL,
    source text NOT NULL DEFAULT '',
    previous bigint,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz
);
CREATE INDEX IF NOT EXISTS claim_fingerprint ON mayday.claim (fingerprint, "window");
CREATE INDEX IF NOT EXISTS claim_previous ON mayday.claim (previous);
CREATE INDEX IF NOT EXISTS claim_claimed_at ON mayday.claim (claimed_at);
CREATE TABLE IF NOT EXISTS mayday.count (
    fingerprint text NOT NULL,
    "window" bigint NOT NULL,
    node text NOT NULL,
    number bigint NOT NULL,
    first double precision NOT NULL,
    last double precision NOT NULL,
    title text NOT NULL DEFAULT '',
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY ("window", fingerprint, node)
);
CREATE INDEX IF NOT EXISTS count_node ON mayday.count (node);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'mayday_courier') THEN
        GRANT USAGE ON SCHEMA mayday TO mayday_courier;
        GRANT SELECT, INSERT, UPDATE, DELETE ON mayday.claim, mayday.count TO mayday_courier;
    END IF;
END
$$;
"""
