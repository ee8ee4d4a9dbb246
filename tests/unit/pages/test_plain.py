"""The page that needs no template: the app and nginx send the same one, with the same words."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flask_mayday.drill.routes import NGINX_PAGES
from flask_mayday.pages.plain import plain_page
from flask_mayday.pages.words import WORDS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nginx's folder of configuration, as the image's build writes it."""
    folder = tmp_path_factory.mktemp("nginx")
    command = [sys.executable, ROOT / "nginx/generate.py", ROOT / "flask_mayday/pages", folder]
    subprocess.run(command, check=True)
    return folder


def test_the_page_of_nginx_is_the_same_word_for_word(nginx: Path) -> None:
    values = {"status": "404", "error_title": "Gone", "error_detail": "Away"}
    values["effective_request_id"] = "0a"
    page = (nginx / "pages/error.html").read_text()
    filled = re.sub(r'<!--# echo var="(.*?)".*? -->', lambda found: values[found[1]], page)
    assert plain_page(404, "Gone", "Away", "0a") == filled


def test_the_content_security_policy_knows_the_style_of_the_page(nginx: Path) -> None:
    (style,) = re.findall(
        "<style>(.*?)</style>", (nginx / "pages/error.html").read_text(), re.DOTALL
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in (nginx / "page-headers.conf").read_text()


@pytest.mark.parametrize("name", ["title", "detail"])
def test_an_error_has_the_same_words_whoever_answers_it(nginx: Path, name: str) -> None:
    text = (nginx / "words.conf").read_text()
    (lines,) = re.findall(rf"map \$status \$error_{name} \{{(.*?)\}}", text, re.DOTALL)
    words = dict(re.findall(r'^    (\w+) "(.*)";$', lines, re.MULTILINE))
    assert words["default"] == getattr(WORDS[500], name)
    for status in NGINX_PAGES:
        assert words[str(status)] == getattr(WORDS[status], name)
