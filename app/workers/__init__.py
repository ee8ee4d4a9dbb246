"""What befalls a worker: a request that outlasts its time, a kill, a crash. Each is one report."""
