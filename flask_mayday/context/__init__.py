"""Which request a thread works for: request ids, threads, the table of requests in flight."""
