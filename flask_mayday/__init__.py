"""Flask Mayday: error pages, error mails, a rotating log and request ids for any Flask app."""

__version__ = "0.1.0"
