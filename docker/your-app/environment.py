"""Sets the app's environment variables in every Python process of the image.

A ``.pth`` file runs :func:`load` whenever the interpreter starts. The secrets are read from the
volume ``secrets``, so that neither Compose's model nor ``docker inspect`` shows one. A variable
that is already set is kept. ``app.env`` takes precedence over the stack's values.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import quote

SECRETS = Path(os.environ.get("STACK_SECRETS", "/run/secrets"))
LOADED = "STACK_ENVIRONMENT_LOADED"
MAIL = ("MAIL_SERVER", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USE_SSL", "MAIL_USERNAME")
OFF = ("", "0", "false", "no", "off")
EXPORT = re.compile(r"^export\s+")
REFERENCE = re.compile(r"\$\{(DATABASE_URL|DATABASE_PASSWORD|SECRET_KEY)\}")


def load(environ: MutableMapping[str, str] = os.environ, folder: Path = SECRETS) -> None:
    """Add the app's variables to ``environ``, once: a child process inherits them."""
    if LOADED in environ:
        return
    environ[LOADED] = "1"
    if "FLASK_DEBUG" in environ:  # Flask treats only 0, false and no as off
        is_off = environ["FLASK_DEBUG"].strip().lower() in OFF
        environ["FLASK_DEBUG"] = "0" if is_off else "1"
    known = _known(environ, folder)
    for name, value in _app_env(folder).items():
        environ.setdefault(name, _expanded(value, {**known, **environ}))
    known.pop("DATABASE_PASSWORD", None)
    for name, value in known.items():
        environ.setdefault(name, value)


def _expanded(value: str, known: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda found: known.get(found[1], ""), value)


def _known(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the stack's values: the secret key, the database, the mail server."""
    known = {"SECRET_KEY": _read(folder / "secret_key")}
    # web may read the password of the tables' owner only where there is no other role for it.
    role = "app" if os.access(folder / "app_password", os.R_OK) else "web"
    password = _read(folder / f"{role}_password")
    if password and environ.get("STACK_DATABASE") != "none":
        scheme = _read(Path(sys.prefix, "database_scheme")) or "postgresql"
        login = _read(folder / f".{role}_login") or "app"
        known["DATABASE_PASSWORD"] = password
        known["DATABASE_URL"] = f"{scheme}://{login}:{quote(password, safe='')}@db/microblog"
    for name in MAIL:
        known[name] = environ.get(f"MAYDAY_{name}", "")
    if known["MAIL_SERVER"]:
        known["MAIL_PASSWORD"] = _read(folder / "mail_password")
        known["MAIL_DEFAULT_SENDER"] = environ.get("MAYDAY_MAIL_FROM", "")
    else:
        known["MAIL_PORT"] = ""
    return {name: value for name, value in known.items() if value.strip().lower() not in OFF}


def _app_env(folder: Path) -> dict[str, str]:
    """Return the variables of app.env, which `init` has checked."""
    found = {}
    for line in _read(folder / "app.env").splitlines():
        text = EXPORT.sub("", line.strip())
        name, equals, value = text.partition("=")
        if equals and not text.startswith("#"):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[name.strip()] = value
    return found


def _read(path: Path) -> str:
    """Return a secret, or the empty text. A missing secret must not prevent startup."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{path} cannot be read: {error}\n")
        return ""
