"""Delivers mails: the thread, the delivery loop, the SMTP session."""
