"""The request that a thread works for: request ids, threads, the table of requests in flight."""
