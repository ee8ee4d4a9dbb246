"""Masks secrets: by the name of a field, by value, by pattern."""
