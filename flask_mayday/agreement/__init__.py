"""Lets the couriers of several nodes agree on which one mails what, through PostgreSQL.

A node is a machine with its own spool.
"""
