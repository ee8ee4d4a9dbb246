"""Which app the volumes belong to: its data must not be used by another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

FILE = ".belongs_to"  # in the volume `secrets`; hidden, because it is not a secret


@dataclass(frozen=True)
class App:
    """The app that the volumes belong to: the demo if APP_DIR is not set."""

    module: str
    folder: str

    @classmethod
    def from_environment(cls) -> App:
        """Return the app that APP and APP_DIR name."""
        if not os.environ.get("APP_DIR"):
            return cls("Microblog", "")
        module = os.environ.get("APP", "").partition(":")[0].strip()
        return cls(module, Path(os.environ["APP_DIR"]).name)

    @property
    def is_demo(self) -> bool:
        """Whether it is the demo."""
        return not self.folder and self.module == "Microblog"

    def __str__(self) -> str:
        return (
            self.module if self.folder in ("", self.module) else f"{self.module} in {self.folder}"
        )
