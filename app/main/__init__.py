"""The blog: home page, timeline and user profiles."""
