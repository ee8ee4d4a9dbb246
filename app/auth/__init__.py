"""Accounts' pages: register, log in, log out."""
