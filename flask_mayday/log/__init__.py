"""What ops tail: the rotating file, its formats, its reader, slow queries."""
