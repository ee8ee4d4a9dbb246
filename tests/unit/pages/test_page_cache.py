"""Error pages that are rendered once, and templates whose pages differ for each visitor."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import count

import pytest
from flask import Flask, abort
from jinja2 import DictLoader, Environment

from flask_mayday import Mayday
from flask_mayday.pages.page_cache import PageCache, uses_only

NUMBERS = count()
LAYOUT = "<title>{% block title %}{% endblock %}</title>{{ drill }}"


def test_a_page_is_rendered_once_for_each_status_and_shows_each_request_id() -> None:
    rendered = []

    def render(request_id: str) -> str:
        rendered.append(request_id)
        return f"<p>{request_id}</p><a href='/{request_id}'>"

    pages = PageCache()
    for _ in range(5):
        request_id = secrets.token_hex(16)
        assert pages.page(404, request_id, render) == f"<p>{request_id}</p><a href='/{request_id}'>"
    assert len(rendered) == 2
    assert request_id not in rendered


@pytest.mark.parametrize(
    "render",
    [
        lambda request_id: f"<p>{request_id[:8]}</p>",
        lambda request_id: f"<p>{request_id.upper()}</p>",
        lambda request_id: f"<p>{request_id} {next(NUMBERS)}</p>",
    ],
    ids=["a part of the id", "the id in capitals", "a counter"],
)
def test_a_page_that_differs_in_more_than_the_id_is_not_kept(render) -> None:
    pages = PageCache()
    for _ in range(3):
        request_id = secrets.token_hex(16)
        assert pages.page(404, request_id, render).lower().startswith(f"<p>{request_id[:8]}")


def test_a_request_id_is_escaped() -> None:
    assert PageCache().page(404, "<b>", lambda request_id: f"<p>{request_id}") == "<p>&lt;b&gt;"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{% extends "layout" %}{% block title %}{{ title|upper }}{% endblock %}', True),
        ("{% if drill is defined %}{{ title }}{% endif %}{% set x = title %}{{ x }}", True),
        ("{{ url_for('index') }}", False),
        ("{{ current_user.name }}", False),
        ("{{ undefined }}", False),
        ('{% include "user" %}', False),
        ('{% extends "user" %}', False),
        ('{% from "user" import greet %}{{ greet() }}', False),
        ("{% extends title %}", False),
        ("{{ title|own }}", False),
        ("{{ [1, 2]|random }}", False),
        ("{% if title is own %}{% endif %}", False),
        ("{% for one in range(3) %}{% endfor %}", False),
        ("{% debug %}", False),
    ],
)
def test_a_page_is_the_same_for_everyone_unless_its_template_uses_more(template, expected) -> None:
    templates = {"page": template, "layout": LAYOUT}
    templates["user"] = "{% macro greet() %}{{ user }}{% endmacro %}{{ session.name }}"
    environment = Environment(
        loader=DictLoader(templates), autoescape=True, extensions=["jinja2.ext.debug"]
    )
    environment.globals.update(url_for=str, current_user=None)
    environment.filters["own"] = environment.tests["own"] = str
    assert uses_only(environment, "page", ("title", "drill")) is expected


@pytest.fixture
def app(settings) -> Iterator[Flask]:
    app = Flask("page_cache")
    app.config.from_mapping(settings)
    app.jinja_env.loader = DictLoader({"mayday/page.html": "{{ visitor }} {{ request_id }}"})
    visits = count()
    app.context_processor(lambda: {"visitor": f"visitor {next(visits)}"})
    Mayday(app)
    yield app
    app.extensions["mayday"].courier.stop(5)


def test_a_page_that_names_the_visitor_is_rendered_for_each(app) -> None:
    texts = [app.test_client().get("/nowhere").text.rpartition(" ")[0] for _ in range(3)]
    assert texts == ["visitor 0", "visitor 1", "visitor 2"]


def test_a_detail_of_the_view_is_in_its_own_page_only(make_app) -> None:
    app = make_app()
    app.add_url_rule("/fish", "fish", lambda: abort(404, "No such fish."))
    client = app.test_client()
    for path, detail in (("/fish", "No such fish."), ("/nowhere", "There is no page")) * 2:
        assert detail in client.get(path).text


def test_the_page_of_the_demo_is_the_same_for_everyone_and_each_has_its_request_id(
    make_app,
) -> None:
    app = make_app(DRILL=True)
    client = app.test_client()
    pages = [client.get("/nowhere") for _ in range(3)]
    for page in pages:
        assert page.text.count(page.headers["X-Request-ID"]) == 1
    assert uses_only(
        app.jinja_env,
        "mayday/page.html",
        ["status", "title", "detail", "reported", "drill", "mailed", "log_hint", "request_id"],
    )
