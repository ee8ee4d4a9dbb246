"""Error pages without templates, database or Flask, as HTML and as JSON."""

from __future__ import annotations

import html
import json
from typing import Final

PLAIN_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title}</title>
  <style>
    html {{ font: 100%/1.55 system-ui, sans-serif; }}
    body {{ margin: 0; background: #f6f4ef; color: #22252a; overflow-wrap: anywhere; }}
    main {{ padding: 3rem max(1.25rem, (100% - 34rem) / 2); }}
    a {{ color: inherit; }}
    .status, h1 {{ margin: 0 0 .5rem; font: 700 2rem/1.2 ui-serif, Georgia, serif; }}
    .request-id {{ -webkit-user-select: all; user-select: all; }}
    @media (prefers-color-scheme: dark) {{ body {{ background: #14171b; color: #e6e6e3; }} }}
  </style>
</head>
<body>
  <main>
    <p class="status">{status}</p>
    <h1>{title}</h1>
    <p>{detail}</p>
    <p>If this keeps happening, contact us and quote this request id:</p>
    <p><code class="request-id">{request_id}</code></p>
    <p><a href="/">Home page</a></p>
  </main>
</body>
</html>
"""


def plain_page(status: int, title: str, detail: str, request_id: str) -> str:
    """Return an HTML page with these texts, escaped; it loads no other file."""
    return PLAIN_PAGE.format(
        status=status,
        title=html.escape(title),
        detail=html.escape(detail),
        request_id=html.escape(request_id),
    )


def problem(status: int, title: str, detail: str, request_id: str) -> str:
    """Return a problem document (RFC 9457) with these texts, as JSON."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": request_id,
        },
        default=str,  # an app can pass anything to abort(): an exception, a text to translate
    )
