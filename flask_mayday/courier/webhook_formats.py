"""The formats of webhooks: a message of the spool as each service expects it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.header import Header
from typing import Any, Final

# Characters of the text of a message: what each service shows, or takes.
SLACK_LENGTH: Final = 3500
MATTERMOST_LENGTH: Final = 3500
DISCORD_LENGTH: Final = 1500
NTFY_BYTES: Final = 3500
SUBJECT_LENGTH: Final = 200
ZERO_WIDTH_SPACE: Final = "\u200b"

Message = Mapping[str, Any]


def encode(message: Message, name: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the request for a message, in the format ``name``."""
    if name == "ntfy":
        return _ntfy(message)
    content = {"slack": _slack, "mattermost": _mattermost, "discord": _discord}.get(name, dict)
    return json.dumps(content(message)).encode(), {"Content-Type": "application/json"}


def without_outside_text(message: Message) -> dict[str, object]:
    """Return a message for a receiver that refuses it because of what is in it.

    What remains is made by this package: counts, ids and times.
    """
    kept = ("id", "kind", "time", "count", "fingerprint", "environment", "release", "app")
    subject = "An error message that the webhook's server refused because of its content"
    text = f"{subject}.\nFingerprint: {message.get('fingerprint') or '-'}\nIt is in the log."
    return {
        **{name: message.get(name) for name in kept},
        "subject": subject,
        "where": "",
        "text": text,
        "reduced": True,
    }


def _slack(message: Message) -> dict[str, object]:
    def escaped(text: str) -> str:  # so that no visitor can write <!channel> or a link
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    text = escaped(_block(message, SLACK_LENGTH))
    return {"text": f"*{escaped(_subject(message))}*\n{text}"}


def _mattermost(message: Message) -> dict[str, object]:
    return {"text": f"**{_plain(_subject(message))}**\n{_block(message, MATTERMOST_LENGTH)}"}


def _discord(message: Message) -> dict[str, object]:
    return {
        "content": f"**{_plain(_subject(message))}**\n{_block(message, DISCORD_LENGTH)}",
        "allowed_mentions": {"parse": []},
    }


def _ntfy(message: Message) -> tuple[bytes, dict[str, str]]:
    text = str(message.get("text", "")).encode()
    if len(text) > NTFY_BYTES:  # ntfy would turn it into a file
        text = text[:NTFY_BYTES].decode("utf-8", "ignore").encode() + "…".encode()
    title = _subject(message)
    if not title.isascii():
        title = Header(title, "utf-8", maxlinelen=10_000).encode()
    return text, {"Content-Type": "text/plain; charset=utf-8", "Title": title, "Tags": "warning"}


def _subject(message: Message) -> str:
    return " ".join(str(message.get("subject", "")).split())[:SUBJECT_LENGTH]


def _plain(text: str) -> str:
    """Return a text in which nothing is Markdown or a mention."""
    return "".join(
        f"{one}{ZERO_WIDTH_SPACE}" if one == "@" else f"\\{one}" if one in "\\`*_~[]<>|#" else one
        for one in text
    )


def _block(message: Message, length: int) -> str:
    """Return the text as a block of code, in which nothing is Markdown or a mention."""
    text = str(message.get("text", ""))
    text = text if len(text) <= length else f"{text[:length]}\n…"
    return "```\n" + text.replace("```", f"`{ZERO_WIDTH_SPACE}`{ZERO_WIDTH_SPACE}`") + "\n```"
