"""The web container's health check: fails unless the app answers 200 within two seconds."""

import sys
import urllib.request

port = sys.argv[1] if len(sys.argv) > 1 else "8000"
try:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2) as response:
        sys.exit(response.status != 200)
except OSError as error:
    sys.exit(f"The app does not answer: {error}")
