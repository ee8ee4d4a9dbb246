"""Error pages that need nothing: no template, no database, no Flask. And the JSON form."""

from __future__ import annotations

import html
import json
from typing import Final

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

PROBLEM_JSON: Final = "application/problem+json"
JSON_TYPES: Final = ("application/json", PROBLEM_JSON)

# nginx's page, word for word. What it links to is its looks only.
PLAIN_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title} - Microblog</title>
  <style>
    html {{ font: 100%/1.55 system-ui, sans-serif; }}
    body {{ margin: 0; background: #f6f4ef; color: #22252a; overflow-wrap: anywhere; }}
    a {{ color: inherit; }}
    .bar, main {{ padding: 1.1rem max(1.25rem, (100% - 34rem) / 2); }}
    .status, h1 {{ margin: 0 0 .5rem; font: 700 2rem/1.2 ui-serif, Georgia, serif; }}
    .request-id {{ -webkit-user-select: all; user-select: all; }}
    @media (prefers-color-scheme: dark) {{ body {{ background: #14171b; color: #e6e6e3; }} }}
  </style>
  <link rel="stylesheet" href="/static/microblog.css">
  <link rel="icon" href="/static/icon.svg" type="image/svg+xml">
</head>
<body>
  <header class="bar">
    <a class="brand" href="/">Microblog</a>
  </header>
  <main id="content">
    <article class="problem">
      <p class="status">{status}</p>
      <h1>{title}</h1>
      <p class="lead">{detail}</p>
      <p>If it stays like that, quote this request id:</p>
      <p><code class="request-id">{request_id}</code></p>
      <p><a class="button" href="/">Back</a></p>
    </article>
  </main>
</body>
</html>
"""


def plain_page(status: int, title: str, detail: str, request_id: str) -> str:
    """Return a whole page that depends on nothing."""
    return PLAIN_PAGE.format(
        status=status,
        title=html.escape(title),
        detail=html.escape(detail),
        request_id=html.escape(request_id),
    )


def problem(status: int, title: str, detail: str, request_id: str) -> str:
    """Return a problem document (RFC 9457)."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        }
    )


def prefers_json(accept: str) -> bool:
    """Tell whether a client that sends ``Accept: accept`` names JSON and weighs it above HTML.

    A browser names HTML, curl names nothing, and both mean HTML; so do ties and ``*/*``.
    """
    accepted = parse_accept_header(accept, MIMEAccept)
    json_quality = max(_qualities(accepted, *JSON_TYPES), default=0)
    # Werkzeug does not find text/html;charset=utf-8 when asked for text/html.
    html_quality = max(_qualities(accepted, "text/html"), default=accepted.quality("text/html"))
    return json_quality > html_quality


def _qualities(accepted: MIMEAccept, *media_types: str) -> list[float]:
    """Return how the types that are named weigh, whatever their parameters."""
    return [
        quality
        for value, quality in accepted
        if value.partition(";")[0].strip().lower() in media_types
    ]
