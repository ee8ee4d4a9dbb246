"""Scripts of the images, loaded by their paths: they are no packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that imports a script by its path in the repository."""

    def load(path: str) -> Any:
        # Scripts import others beside them.
        for folder in ("docker", "docker/verbs", "deploy/swarm"):
            monkeypatch.syspath_prepend(str(ROOT / folder))
        name = "script_" + Path(path).stem
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load
