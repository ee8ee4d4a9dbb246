"""What the visitor sees when something fails: the WSGI middleware and the error pages."""
