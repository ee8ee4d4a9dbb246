"""The error that stops a backup or a restore with a message for the operator."""


class BackupError(Exception):
    """Why a backup cannot be written or read; the message is for the operator."""
