"""The agreement of the couriers of several machines: who mails what, in two tables of PostgreSQL."""
