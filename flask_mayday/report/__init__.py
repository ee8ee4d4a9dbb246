"""Builds a report from a log record: traceback, request, fingerprint, breadcrumbs."""
