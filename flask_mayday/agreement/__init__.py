"""How the couriers of several machines agree on who mails what: two tables of PostgreSQL."""
