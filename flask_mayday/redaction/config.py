"""Finds the secrets in an app's configuration and in its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

NAME: Final = re.compile(
    r"(?:^|_)(?:SECRET|SECRET_KEY|PASSWORD|PASSWD|PASS|TOKEN|API_KEY|APIKEY|PRIVATE_KEY|ACCESS_KEY"
    r"|CREDENTIALS|SALT|SECRET_KEY_FALLBACKS)$",
    re.IGNORECASE,
)
URL_PASSWORD: Final = re.compile(r"://[^:/@\s]*:([^@\s]+)@")


def secrets_of_config(config: Mapping[str, object], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values whose names say that they are secret, and passwords in URLs."""
    return tuple({value for source in (config, environ) for value in _secrets(source)})


def _secrets(source: Mapping[str, object]) -> Iterator[str]:
    for name, value in source.items():
        texts = value if isinstance(value, (list, tuple)) else [value]
        if NAME.search(name):
            yield from (str(text) for text in texts if isinstance(text, (str, bytes)) and text)
        password = getattr(value, "password", None)  # of SQLAlchemy's URL
        if isinstance(password, str) and password:
            yield password
        if isinstance(value, str):
            yield from URL_PASSWORD.findall(value)
