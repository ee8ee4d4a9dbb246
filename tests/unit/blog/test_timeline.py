"""Posts, the pages of a timeline, and what these pages cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import url_for

from app.database import db
from app.main.timeline import POSTS_PER_PAGE
from app.models import Post, User

SAID = re.compile(r'class="said" dir="auto">([^<]*)<')
NEXT = re.compile(r'rel="next" href="([^"]+)"')
PREVIOUS = re.compile(r'rel="prev" href="([^"]+)"')


def write(app, count, authors=1, body="post {}"):
    with app.app_context():
        users = [
            User(username=f"author{number}", email=f"{number}@example.com")
            for number in range(authors)
        ]
        for number in range(count):
            user = users[number % authors]
            user.posts.append(Post(body=body.format(number)))
            db.session.add(user)
            db.session.flush()
        db.session.commit()


def test_everybody_can_read_a_post(susan, visitor):
    page = susan.send("/", post="Hello <b>world</b>")
    assert page.url == "/"
    assert "Your post is now live!" in page.text
    assert "Hello &lt;b&gt;world&lt;/b&gt;" in visitor.open("/explore").text
    assert "Hello &lt;b&gt;world&lt;/b&gt;" in visitor.open("/user/susan").text


@pytest.mark.parametrize("body", ["", "  \r\n ", "a" * 141, "a\0b"])
def test_an_invalid_post_is_a_form_error(susan, body):
    page = susan.send("/", post=body)
    assert page.status == 200
    assert "There is a problem" in page.text
    assert "Nobody has posted anything yet." in page.text


@pytest.mark.parametrize("body", ["a" * 140, "\U0001f600" * 140, "a\r\nb"])
def test_a_post_may_have_140_characters(susan, body):
    assert "Your post is now live!" in susan.send("/", post=body).text


def test_the_pages_show_every_post_once_in_both_directions(app, visitor):
    write(app, 34)
    expected = [f"post {number}" for number in reversed(range(34))]
    address, seen, last = "/explore", [], ""
    while address:
        last = address
        text = visitor.open(address).text
        seen += SAID.findall(text)
        address = f"/explore{older[1]}" if (older := NEXT.search(text)) else ""
    assert seen == expected
    text = visitor.open(last).text
    back = SAID.findall(text)
    while newer := PREVIOUS.search(text):
        text = visitor.open(f"/explore{newer[1]}").text
        back = SAID.findall(text) + back
    # The first page is always full, so it can repeat posts of the second.
    assert back[:POSTS_PER_PAGE] == expected[:POSTS_PER_PAGE]
    assert [post for number, post in enumerate(back) if post not in back[:number]] == expected


def test_a_page_stays_the_same_when_a_post_is_added(app, visitor):
    write(app, 15)
    older = "/explore" + NEXT.search(visitor.open("/explore").text)[1]
    before = SAID.findall(visitor.open(older).text)
    with app.app_context():
        db.session.add(Post(body="new", user_id=1))
        db.session.commit()
    assert SAID.findall(visitor.open(older).text) == before


def test_a_user_page_shows_only_the_posts_of_that_user(app, visitor):
    write(app, 24, authors=2)
    text = visitor.open("/user/author1").text
    assert SAID.findall(text) == [f"post {number}" for number in range(23, 4, -2)]
    text = visitor.open("/user/author1" + NEXT.search(text)[1]).text
    assert SAID.findall(text) == ["post 3", "post 1"]


@pytest.mark.parametrize("key", ["", "x", "-1", "1.0", "9" * 11, "%00", "¹", "1%20"])
def test_an_invalid_key_is_not_found(visitor, key):
    assert visitor.open(f"/explore?before={key}").status == 404
    assert visitor.open(f"/explore?after={key}").status == 404


def test_keys_of_missing_posts_still_show_a_page(app, visitor):
    write(app, 3)
    assert visitor.open("/explore?before=0").status == 200
    for key in ("before=9999999999", "after=0", "after=9999999999"):
        assert SAID.findall(visitor.open(f"/explore?{key}").text) == ["post 2", "post 1", "post 0"]


@pytest.mark.parametrize("path", ["/", "/explore", "/explore?before=20", "/user/author0"])
def test_the_number_of_queries_does_not_grow_with_the_posts(app, susan, queries, path):
    write(app, 2, authors=2)
    with queries() as few:
        susan.open(path)
    with app.app_context():
        for user in range(40):
            author = User(username=f"more{user}", email=f"more{user}@example.com")
            author.posts = [Post(body="more"), Post(body="and more")]
            db.session.add(author)
            db.session.add(Post(body="author0's", user_id=2))
        db.session.commit()
    with queries() as many:
        susan.open(path)
    assert len(many) == len(few) <= 3


def test_an_error_page_makes_no_query(susan, queries):
    with queries() as statements:
        assert susan.open("/nowhere").status == 404
        assert susan.open("/user/%00").status == 404
    # A blueprint's page loads the current user before it looks for the one in its address.
    assert len(statements) <= 1
    with queries() as statements:
        susan.open("/nowhere")
    assert statements == []


@pytest.mark.parametrize("body", ["'" * 140, "\U0001f600" * 140, "a\n" * 70])
def test_the_largest_page_has_less_than_30_kb_with_its_assets(app, susan, body):
    with app.app_context():
        user = User(username="a" * 64, email="a@example.com", about_me="'" * 140)
        user.posts = [Post(body=body) for _ in range(30)]
        db.session.add(user)
        db.session.commit()
    static = sum(len(file.read_bytes()) for file in Path(app.static_folder).iterdir())
    for path in ("/", "/explore?before=20", "/user/" + "a" * 64, "/drill", "/register", "/nowhere"):
        assert len(susan.open(path).text.encode()) + static < 30_000


def test_pages_have_no_inline_code_and_nothing_from_other_sites(app, susan):
    susan.send("/", post="Hello")
    with app.test_request_context():
        paths = [url_for("main.index"), url_for("main.explore")]
    for path in [*paths, "/user/susan", "/edit_profile", "/nowhere", "/explore?before=1"]:
        text = susan.open(path).text
        assert not re.search(r"<(script|style|iframe|object|embed)\b|\s(style|on\w+)=", text)
        assert set(re.findall(r'(?:src|href|action)="(https?:[^"]*)"', text)) == set()
