"""Lets the couriers of several machines agree on which one mails what, through PostgreSQL."""
