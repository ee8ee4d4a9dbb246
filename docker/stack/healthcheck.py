"""The web container's health check: fails unless the app answers 200 within two seconds.

It runs every few seconds, so it imports little: with urllib it would take four times the CPU time.
"""

import socket
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
try:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"GET /health/live HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        status_line = connection.recv(64).partition(b"\r\n")[0]
except OSError as error:
    sys.exit(f"The app does not answer: {error}")
if status_line.split()[1:2] != [b"200"]:
    sys.exit(f"The app answers: {status_line.decode(errors='replace')}")
