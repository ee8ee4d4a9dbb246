"""What the log and the error path cost, beside what others do: ``make bench``."""
