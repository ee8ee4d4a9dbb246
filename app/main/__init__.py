"""The blog itself."""
