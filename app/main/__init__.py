"""The blog itself: the timeline, user pages and their profiles."""
