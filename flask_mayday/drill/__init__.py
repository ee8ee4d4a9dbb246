"""Drills: break the app on purpose, to see page, mail and log."""
