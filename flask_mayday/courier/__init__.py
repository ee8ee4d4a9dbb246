"""Delivers mails and webhook messages: the thread, the delivery loop, the SMTP session."""
