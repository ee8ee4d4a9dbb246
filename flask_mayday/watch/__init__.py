"""The ``watch`` process: checks the site from outside and reports when it does not answer."""
