"""Benchmarks of the log and the error path against alternatives: ``make bench``."""
