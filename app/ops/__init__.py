"""What operators need: the state of the app, and drills that break it on purpose."""
