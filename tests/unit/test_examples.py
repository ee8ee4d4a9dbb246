"""The examples in the docstrings of the public API run."""

from __future__ import annotations

import inspect
import re
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, session

import flask_mayday
from flask_mayday import ConfigurationError, Mayday, testing

PUBLIC = [name for name in vars(Mayday) if not name.startswith("_") and name != "init_app"]
DOCUMENTED = [Mayday, *(getattr(Mayday, name) for name in PUBLIC), testing]


class PaymentError(Exception):
    """An error of the examples."""


def pay(order: Any) -> None:
    raise PaymentError(str(order))


def examples(documented: Any) -> list[str]:
    """Return the code blocks of a docstring."""
    text = inspect.getdoc(documented) or ""
    blocks = re.findall(r"::\n\n((?:(?: {4}.*)?\n?)+)", text)
    return [textwrap.dedent(block) for block in blocks if block.strip()]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda one: one.__name__)
def test_the_example_of_a_docstring_runs(documented: Any, tmp_path: Any) -> None:
    app = Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path))
    app.testing = True
    mayday = Mayday(app)
    namespace = {
        "__name__": "shop",
        "Flask": Flask,
        "Mayday": Mayday,
        "PaymentError": PaymentError,
        "SQLAlchemyError": OSError,
        "app": app,
        "captured_reports": testing.captured_reports,
        "is_unavailable": bool,
        "mayday": mayday,
        "order": SimpleNamespace(id=42),
        "pay": pay,
        "redis": SimpleNamespace(ConnectionError=ConnectionError),
        "requests": SimpleNamespace(get=lambda url, headers: None),
        "session": session,
        "url": "https://example.com",
        "vault": SimpleNamespace(read=lambda name: f"the secret of {name}"),
    }
    found = examples(documented)
    assert found
    for example in found:
        with app.test_request_context():
            exec(example, namespace)


@pytest.mark.parametrize("name", flask_mayday.__all__)
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    assert len(inspect.getdoc(getattr(flask_mayday, name)) or "") > 60


def test_a_configuration_error_is_printed_without_a_traceback() -> None:
    assert str(ConfigurationError(["A is wrong: fix it."])) == (
        "Invalid settings:\n  - A is wrong: fix it."
    )
