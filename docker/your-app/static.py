"""Copies the static files of the app that APP names to /srv/static, without importing the app."""

import os
import shutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path

STATIC = Path("/srv/static")

module = os.environ["APP"].partition(":")[0].removesuffix(".py").replace("/", ".")
spec = PathFinder.find_spec(module.partition(".")[0], [os.getcwd(), "src", *sys.path])
if spec is None or spec.origin is None:
    sys.exit(f"STATIC=nginx: the module {module} was not found.")
folder = Path(spec.origin).parent / "static"
if not folder.is_dir():
    sys.exit(f"STATIC=nginx: there is no folder {folder}. Unset STATIC: the app serves its files.")
shutil.copytree(folder, STATIC, dirs_exist_ok=True)
for path in (STATIC, *STATIC.rglob("*")):
    path.chmod(0o755 if path.is_dir() else 0o644)
