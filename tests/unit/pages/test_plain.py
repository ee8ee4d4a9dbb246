"""The plain page of the app and the page of nginx are the same."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from flask_mayday.drill.routes import NGINX_PAGES
from flask_mayday.pages.plain import plain_page
from flask_mayday.pages.words import WORDS

NGINX = Path(__file__).resolve().parents[3] / "nginx"
PAGE = (NGINX / "pages/error.html").read_text()


def test_the_page_of_nginx_is_the_same_word_for_word():
    values = {"status": "404", "error_title": "Gone", "error_detail": "Away", "request_id": "0a"}
    filled = re.sub('<!--# echo var="(.*?)" -->', lambda found: values[found[1]], PAGE)
    assert plain_page(404, "Gone", "Away", "0a") == filled


def test_the_content_security_policy_allows_the_style():
    (style,) = re.findall("<style>(.*?)</style>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{digest}';" in (NGINX / "headers.conf").read_text()


def test_an_error_has_the_same_title_from_nginx_and_the_app():
    template = (NGINX / "templates/microblog.conf.template").read_text()
    (lines,) = re.findall(r"map \$status \$error_title \{(.*?)\}", template, re.DOTALL)
    titles = dict(re.findall(r'^    (\w+) "(.*)";$', lines, re.MULTILINE))
    default = titles.pop("default")
    assert {status: WORDS[status].title for status in NGINX_PAGES} == {
        status: titles.get(str(status), default) for status in NGINX_PAGES
    }
