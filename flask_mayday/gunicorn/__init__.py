"""gunicorn: configuration, worker class, watchdog, reports of worker deaths."""
