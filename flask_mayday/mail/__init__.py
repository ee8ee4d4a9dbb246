"""Renders a report as a mail, as text and as HTML."""
