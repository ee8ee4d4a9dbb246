"""The web container's health check: fails unless the app answers 200 within two seconds."""

import sys
import urllib.request

try:
    with urllib.request.urlopen("http://127.0.0.1:8000/health/live", timeout=2) as response:
        sys.exit(response.status != 200)
except OSError as error:
    sys.exit(f"The app does not answer: {error}")
