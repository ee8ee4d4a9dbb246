"""Avatars: simple shapes computed from the username and drawn as inline SVG."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from markupsafe import Markup

COLOURS: Final = (
    "#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#6d597a", "#b56576", "#457b9d",
)  # fmt: skip


# A square of 32 by 32 units with a block and a disc on it.
SVG: Final = Markup(
    '<svg class="avatar" viewBox="0 0 32 32" width="{size}" height="{size}" aria-hidden="true">'
    '<path fill="{background}" d="M0 0h32v32H0z"/>'
    '<path fill="{block}" d="M-8 16h48v32H-8z" transform="rotate({angle} 16 16)"/>'
    '<circle fill="{disc}" cx="{x}" cy="{y}" r="7"/></svg>'
)


@lru_cache(maxsize=1024)
def avatar(username: str, size: int) -> Markup:
    """Return the avatar of ``username``, ignoring case, as SVG of ``size`` pixels each way."""
    digest = sha256(username.lower().encode()).digest()
    # Steps of 1 to 3 around 8 colours, so that the three colours differ.
    background = digest[0] % 8
    block = (background + 1 + digest[1] % 3) % 8
    disc = (block + 1 + digest[2] % 3) % 8
    return SVG.format(
        size=size,
        background=COLOURS[background],
        block=COLOURS[block],
        disc=COLOURS[disc],
        angle=digest[3] % 12 * 30,
        x=8 + digest[4] % 17,
        y=8 + digest[5] % 17,
    )
