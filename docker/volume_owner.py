"""Which app the volumes belong to: its data must not be used by another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEMO = "Microblog"
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
            return cls(DEMO, "")
        module = os.environ.get("APP", "").partition(":")[0].strip()
        return cls(module, Path(os.environ["APP_DIR"]).name)

    @property
    def is_demo(self) -> bool:
        """Whether it is the demo."""
        return not self.folder and self.module == DEMO

    def __str__(self) -> str:
        return (
            self.module if self.folder in ("", self.module) else f"{self.module} in {self.folder}"
        )


def refusal(owner: str, app: App, file: Path) -> str:
    """Return why ``app`` cannot use the volumes of ``owner``, which is the text of ``file``."""
    text = (
        f"These volumes belong to {owner}: to run both apps, set COMPOSE_PROJECT_NAME, HTTP_PORT "
        "and MAILHOG_PORT in .env; to delete the data in these volumes, run make clean."
    )
    if app.is_demo or owner == DEMO:
        return text
    return (
        f"{text} If this is the same app and only its module or folder has another name, run: "
        f"docker compose run --rm --no-deps init sh -c 'rm -f {file} && echo \"{app}\" >{file}'"
    )
