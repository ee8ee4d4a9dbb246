"""The log: the rotating file, its formats and its reader, and the warnings of slow queries."""
