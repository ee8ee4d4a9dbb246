"""Avatars: a few shapes that follow from a user's name, drawn in the page itself."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

COLOURS: Final = (
    "#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#6d597a", "#b56576", "#457b9d",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Avatar:
    """Three colours, and where the shapes are on a field of 32 by 32."""

    ground: str
    block: str
    disc: str
    turn: int  # of the block, in degrees
    x: int
    y: int


def avatar(username: str) -> Avatar:
    """Return the avatar of ``username``, the same for every way to write it."""
    digest = sha256(username.lower().encode()).digest()
    # Three different colours: each step leads on, and never all the way round.
    ground = digest[0] % 8
    block = (ground + 1 + digest[1] % 3) % 8
    disc = (block + 1 + digest[2] % 3) % 8
    return Avatar(
        ground=COLOURS[ground],
        block=COLOURS[block],
        disc=COLOURS[disc],
        turn=digest[3] % 12 * 30,
        x=8 + digest[4] % 17,
        y=8 + digest[5] % 17,
    )
