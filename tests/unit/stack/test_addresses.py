"""The addresses that commands print can be opened on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:8080"),
        ("::", "http://[::1]:8080"),
        ("192.168.1.2", "http://192.168.1.2:8080"),
    ],
)
def test_a_published_address_becomes_one_that_works_here(
    load: Callable[[str], Any], host: str, url: str
) -> None:
    assert load("docker/verbs/addresses.py").url(host, "8080") == url
