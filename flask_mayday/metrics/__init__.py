"""Metrics for Prometheus: counted while the setting METRICS is on, with prometheus-client."""
