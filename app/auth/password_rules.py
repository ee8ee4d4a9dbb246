"""Which passwords are refused: short ones, the user's own name, and the most common ones.

``worst_passwords.txt`` holds the most frequent passwords of ten characters or more, and the most
frequent words that people add digits to. It was selected from the list that Django uses:
https://gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

MIN_LENGTH: Final = 10  # characters
MIN_DIFFERENT: Final = 4  # characters
WORST: Final = frozenset(
    Path(__file__).with_name("worst_passwords.txt").read_text(encoding="utf-8").split()
)
AFFIXES: Final = re.compile(r"^[\W\d_]+|[\W\d_]+$")  # digits and punctuation at both ends


def problem_with(password: str, username: str) -> str | None:
    """Return why ``password`` is refused for the user called ``username``, or ``None``."""
    if len(password) < MIN_LENGTH:
        return f"Please use at least {MIN_LENGTH} characters."
    password, username = password.casefold(), username.casefold()
    word = _word(password)
    if password == username or (word and word == _word(username)):
        return "Please choose a password that is not your username."
    if password in WORST or word in WORST or len(set(password)) < MIN_DIFFERENT:
        return "Please choose another password: many people use this one."
    return None


def _word(text: str) -> str:
    return AFFIXES.sub("", text)
