"""Avatars: simple shapes computed from the username and drawn as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

COLOURS: Final = (
    "#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#6d597a", "#b56576", "#457b9d",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Avatar:
    """Three colours and two shapes on a square of 32 by 32 units."""

    background: str
    block: str
    disc: str
    angle: int  # rotation of the block, in degrees
    x: int  # centre of the disc
    y: int


def avatar(username: str) -> Avatar:
    """Return the avatar of ``username``, ignoring case."""
    digest = sha256(username.lower().encode()).digest()
    # Steps of 1 to 3 around 8 colours, so that the three colours differ.
    background = digest[0] % 8
    block = (background + 1 + digest[1] % 3) % 8
    disc = (block + 1 + digest[2] % 3) % 8
    return Avatar(
        background=COLOURS[background],
        block=COLOURS[block],
        disc=COLOURS[disc],
        angle=digest[3] % 12 * 30,
        x=8 + digest[4] % 17,
        y=8 + digest[5] % 17,
    )
