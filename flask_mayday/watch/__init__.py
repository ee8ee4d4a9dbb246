"""The watch: a process beside the app that says when the site as a whole does not answer."""
