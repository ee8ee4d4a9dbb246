"""The durable queue of error reports: files that producers append to, and a database.

Producers are all processes that report errors. They only append to files (:mod:`.outbox`). One
process, which holds the courier's lease, moves the reports into SQLite and mails them. All SQL on
the spool is in this package.
"""
