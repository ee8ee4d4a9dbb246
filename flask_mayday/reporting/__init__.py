"""From a log record or an unhandled exception to the spool and the courier."""
