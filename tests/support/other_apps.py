"""Other Flask apps in a stack of their own, unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Answer, Stack, end


@contextmanager
def started(folder: Path, name: str, *arguments: str, **settings: str) -> Iterator[Stack]:
    """Run an app in a fresh clone, as a reader of the README would: `make up APP_DIR=… APP=…`."""
    clone = clone_checkout(folder / "clone")
    stack = Stack(f"{PROJECT}-{name}", clone, settings)
    stack.remove()
    try:
        stack.make("up", *arguments)
        yield stack
    finally:
        end(stack)


def from_pypi(folder: Path, requirements: str) -> Path:
    """Return a folder with nothing but a requirements.txt."""
    app = folder / "app"
    app.mkdir()
    (app / "requirements.txt").write_text(requirements)
    return app


def assert_reported(stack: Stack, answer: Answer, kind: str, own_file: str) -> None:
    """Page, mail and log entry are there under one id, and the app's own code is marked."""
    assert answer.status == 500
    assert answer.request_id in answer.text
    mail = stack.mail_of(answer.request_id)
    assert kind in mail["Subject"]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    place = text.splitlines()[1]
    assert re.search(rf", {own_file}\S*:\d+ in ", place), text
    assert re.search(rf'File "{own_file}\S*", line', text), text
    assert re.search(r"\d+ frames? in (flask|werkzeug)", text), text
    assert f"[request {answer.request_id}]" in stack.log()
