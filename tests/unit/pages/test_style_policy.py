"""Our own pages keep their inline style, whatever policy the app sets for its own."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from flask import Flask, Response

from flask_mayday import Mayday
from flask_mayday.pages.style_policy import POLICY

HEADER = "Content-Security-Policy"
STRICT = "default-src 'self'"
BROWSER = {"Accept": "text/html"}


@pytest.fixture(params=["mayday first", "mayday last"])
def app(tmp_path: Path, request: pytest.FixtureRequest) -> Flask:
    """Return an app that sets a policy of its own for every response, as Flask-Talisman does."""
    app = Flask("strict", instance_path=str(tmp_path), root_path=str(tmp_path))
    app.config.update(LOG_DIR=tmp_path / "logs", SPOOL_DIR=tmp_path / "spool", DRILL=True)
    if request.param == "mayday first":
        Mayday(app)
    app.add_url_rule("/", "index", lambda: "the app's")
    app.add_url_rule("/boom", "boom", lambda: str(1 / 0))

    @app.after_request
    def set_policy(response: Response) -> Response:
        response.headers[HEADER] = STRICT
        return response

    Mayday(app)  # does nothing the second time
    return app


@pytest.mark.parametrize(
    "path", ["/nowhere", "/boom", "/drill", "/drill/pages", "/drill/pages/502"]
)
def test_our_page_gets_our_policy(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, headers=BROWSER)
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY
    assert " style=" not in answer.text
    assert answer.headers.getlist(HEADER) == [POLICY]


def test_a_page_of_the_app_keeps_the_policy_of_the_app(app: Flask) -> None:
    assert app.test_client().get("/").headers[HEADER] == STRICT


def test_a_problem_document_keeps_the_policy_of_the_app(app: Flask) -> None:
    answer = app.test_client().get("/nowhere", headers={"Accept": "application/json"})
    assert answer.headers[HEADER] == STRICT


def test_an_error_page_from_a_template_of_the_app_keeps_the_policy_of_the_app(
    app: Flask, tmp_path: Path
) -> None:
    (tmp_path / "templates/mayday").mkdir(parents=True)
    (tmp_path / "templates/mayday/page.html").write_text("{{ status }} in the app's style")
    answer = app.test_client().get("/nowhere")
    assert answer.text == "404 in the app's style"
    assert answer.headers[HEADER] == STRICT


def test_a_response_that_replaces_our_page_keeps_the_policy_of_the_app(app: Flask) -> None:
    app.after_request_funcs[None].append(lambda response: Response("the app's", 404))
    answer = app.test_client().get("/nowhere")
    assert answer.text == "the app's"
    assert answer.headers[HEADER] == STRICT


def test_the_policy_survives_a_response_class_of_the_app(app: Flask) -> None:
    class OwnResponse(Response):
        default_mimetype = "text/plain"

    app.response_class = OwnResponse
    assert app.test_client().get("/nowhere").headers[HEADER] == POLICY


def test_the_page_of_the_middleware_has_our_policy(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(app, "full_dispatch_request", fail)
    answer = app.test_client().get("/", headers=BROWSER)
    assert answer.status_code == 500
    assert answer.headers.getlist(HEADER) == [POLICY]
