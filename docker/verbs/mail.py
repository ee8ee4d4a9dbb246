"""Lists the captured mails (time, request id, subject) and the address of MailHog's UI."""

from __future__ import annotations

import signal
import sys
from email import message_from_string
from email.policy import default

from runtime import current


def main() -> int:
    """Print one line per mail, the newest last."""
    stack = current()
    page, captured = stack.mail_page(), stack.mails(250)
    for item in reversed(captured["items"]):
        mail = message_from_string(item["Raw"]["Data"], policy=default)
        request_id = printable(mail["X-Request-ID"] or "-" * 32)
        print(item["Created"][:19], request_id, printable(mail["Subject"] or ""))
    count = captured["total"]
    mails = "mail" if count == 1 else "mails"
    found = f"{count} {mails}." if count else "No mail has been captured yet."
    print(found, f"To read mails: {page}" if page else "On a swarm, MailHog has no page.")
    return 0


def printable(text: str) -> str:
    """Return a text of a mail with control characters replaced, for a terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C prints no traceback
    sys.exit(main())
