"""The SQL with which couriers read and write ``mayday.claim`` and ``mayday.count``."""

from __future__ import annotations

from typing import Final

# Nodes share a lock to write counts, and a node holds it alone to claim mails: no window is closed
# while a count is written to it. A node first reads whether there is anything to
# claim, so that a thousand nodes that want the same mail do not wait for each other.
SHARED: Final = """
BEGIN;
SET LOCAL statement_timeout = 2500;
SELECT pg_advisory_xact_lock_shared(1835104121, 0);
"""
EXCLUSIVE: Final = """
ROLLBACK;
BEGIN;
SET LOCAL statement_timeout = 2500;
SELECT pg_advisory_xact_lock(1835104121, 0);
"""
# What is known of windows: those that are asked for, those that have closed one of ours, and the
# current one of each fingerprint.
WINDOWS: Final = """
SELECT "window", fingerprint, node, previous,
       extract(epoch FROM clock_timestamp() - claimed_at)::float8,
       sent_at IS NOT NULL,
       sent_at IS NULL AND greatest(renewed_at, pg_postmaster_start_time())
           < clock_timestamp() - make_interval(secs => %(expiry)s)
FROM mayday.claim
WHERE "window" = ANY(%(windows)s::bigint[]) OR previous = ANY(%(counted)s::bigint[])
   OR "window" IN (SELECT max("window") FROM mayday.claim
                   WHERE fingerprint = ANY(%(fingerprints)s::text[]) GROUP BY fingerprint)
"""
# Mails of the last hour by route or logger and node, and whether the server has just started.
RECENT: Final = """
SELECT source, node, count(*), clock_timestamp() - pg_postmaster_start_time()
       < make_interval(secs => %(recovery)s)
FROM mayday.claim
WHERE claimed_at > clock_timestamp() - interval '1 hour' AND fingerprint <> ''
GROUP BY source, node
UNION ALL
SELECT '', '', 0, clock_timestamp() - pg_postmaster_start_time()
       < make_interval(secs => %(recovery)s)
"""
RECORDED: Final = """
SELECT fingerprint, "window", number FROM mayday.count
WHERE node = %(node)s AND "window" = ANY(%(closed)s::bigint[])
"""
# Deletes the node's open counts that it does not have any more.
FORGET: Final = """
DELETE FROM mayday.count AS c
WHERE node = %(node)s
  AND NOT EXISTS (SELECT FROM mayday.claim WHERE previous = c."window")
  AND (fingerprint, "window") NOT IN
      (SELECT * FROM unnest(%(fingerprints)s::text[], %(windows)s::bigint[]));
"""
COUNT: Final = """
INSERT INTO mayday.count AS c (fingerprint, "window", node, number, first, last, title)
SELECT f, w, %(node)s, n, a, z, t
FROM unnest(%(fingerprints)s::text[], %(windows)s::bigint[], %(numbers)s::bigint[],
            %(firsts)s::float8[], %(lasts)s::float8[], %(titles)s::text[]) AS new (f, w, n, a, z, t)
ON CONFLICT ("window", fingerprint, node) DO UPDATE
SET number = excluded.number, first = excluded.first, last = excluded.last, title = excluded.title
WHERE c.number <> excluded.number;
"""
# The counts of all nodes in some windows, and how many seconds the first of each window has waited.
COUNTED: Final = """
SELECT fingerprint, "window", number, first, last, title, node,
       extract(epoch FROM clock_timestamp() - min(counted_at) OVER (PARTITION BY "window"))::float8
FROM mayday.count WHERE "window" = ANY(%(windows)s::bigint[]) AND number > 0
"""
CLAIM: Final = """
INSERT INTO mayday.claim ("window", fingerprint, node, source, previous)
SELECT base + place, f, %(node)s, s, p
FROM unnest(%(fingerprints)s::text[], %(sources)s::text[], %(previous)s::bigint[])
     WITH ORDINALITY AS new (f, s, p, place),
     (SELECT greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                      coalesce(max("window"), 0)) AS base FROM mayday.claim) AS newest
RETURNING "window", fingerprint
"""
TAKE_OVER: Final = """
UPDATE mayday.claim SET node = %(node)s, renewed_at = clock_timestamp()
WHERE "window" = ANY(%(windows)s::bigint[]) AND sent_at IS NULL
"""
UNCOUNT: Final = """
DELETE FROM mayday.count WHERE node = %(node)s AND (fingerprint, "window") IN
    (SELECT * FROM unnest(%(fingerprints)s::text[], %(windows)s::bigint[]));
"""
# A mail that has waited for an hour is left to the others: perhaps they reach the mail server.
RENEW: Final = """
UPDATE mayday.claim
SET renewed_at = CASE WHEN claimed_at > clock_timestamp() - interval '1 hour'
                 THEN clock_timestamp() ELSE renewed_at END
WHERE "window" = ANY(%(windows)s::bigint[]) AND node = %(node)s AND sent_at IS NULL
RETURNING "window"
"""
SENT: Final = """
UPDATE mayday.claim SET sent_at = clock_timestamp()
WHERE "window" = ANY(%(windows)s::bigint[]) AND sent_at IS NULL
"""
DELETE_DELIVERED_COUNTS: Final = """
DELETE FROM mayday.count AS c USING mayday.claim AS s
WHERE c.node = %(node)s AND s.previous = c."window" AND s.sent_at IS NOT NULL
"""
DELETE_OLD_ROWS: Final = """
DELETE FROM mayday.count WHERE counted_at < clock_timestamp() - interval '7 days';
DELETE FROM mayday.claim WHERE claimed_at < clock_timestamp() - interval '8 days'
    AND (sent_at IS NOT NULL OR claimed_at < clock_timestamp() - interval '60 days')
"""
