"""The durable queue of reports and mails: files, memory, database, quota, recovery."""
