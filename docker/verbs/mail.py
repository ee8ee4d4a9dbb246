"""Lists the captured mails: time, request id, subject; and where to read them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from email import message_from_string
from email.policy import default


def main() -> int:
    """Print one line a mail, the newest last."""
    command = ["docker", "compose", "port", "mailhog", "8025"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not found:
        print("MailHog is not running: start the stack with make up.", file=sys.stderr)
        return 1
    mailhog = f"http://{found}"
    with urllib.request.urlopen(f"{mailhog}/api/v2/messages?limit=250", timeout=10) as answer:
        captured = json.load(answer)
    for item in reversed(captured["items"]):
        mail = message_from_string(item["Raw"]["Data"], policy=default)
        print(item["Created"][:19], mail["X-Request-ID"] or "-" * 32, mail["Subject"])
    print(f"{captured['total']} mails, to be read at {mailhog}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
