"""Drills: errors raised on purpose, to see the page, the mail and the log entry."""
