"""The settings of a site on the internet, which are checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FINE = {
    "DOMAIN": "blog.example.org",
    "TLS": "acme",
    "MAIL_SERVER": "smtp.example.org",
    "ADMINS": "you@example.org",
    "ACME_DIRECTORY": "https://acme.example.org/directory",
    "ACME_EMAIL": "",
    "ACME_CA_FILE": "",
}


@pytest.fixture
def problems(load: Callable[[str], Any], tmp_path: Path) -> Callable[..., str]:
    module = load("docker/verbs/domain.py")

    def find(**changes: str) -> str:
        values = {**FINE, **changes}
        return "\n".join([*module.problems(values), *module.certificate_problems(values, tmp_path)])

    return find


def test_a_complete_configuration_has_no_problem(problems: Callable[..., str]) -> None:
    assert problems() == ""
    assert problems(DOMAIN="", TLS="", MAIL_SERVER="mailhog") == ""
    assert problems(DOMAIN="", TLS="self-signed", MAIL_SERVER="mailhog") == ""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"TLS": "letsencrypt"}, "TLS is 'letsencrypt': use acme, own or self-signed"),
        ({"DOMAIN": ""}, "TLS is acme, but DOMAIN is not set"),
        ({"DOMAIN": "localhost"}, "TLS is acme, but DOMAIN is 'localhost'"),
        ({"DOMAIN": "https://x.org"}, "DOMAIN is 'https://x.org', which is not a host name"),
        ({"DOMAIN": "192.0.2.7"}, "DOMAIN is '192.0.2.7', which is not a host name"),
        ({"DOMAIN": "Blog.Example.org"}, "in lower case"),
        ({"MAIL_SERVER": "mailhog"}, "    MAIL_SERVER=smtp.blog.example.org\n"),
        ({"ADMINS": "admin@microblog.example"}, "    ADMINS=you@blog.example.org\n"),
        ({"ACME_DIRECTORY": "acme.example.org"}, "ACME_DIRECTORY is 'acme.example.org'"),
        ({"ACME_EMAIL": "you"}, "ACME_EMAIL is 'you'"),
        ({"ACME_CA_FILE": "ca.pem"}, "ACME_CA_FILE is 'ca.pem': there is no such file"),
        ({"TLS": "own"}, "TLS is own, but secrets/tls_key.pem is missing"),
    ],
)
def test_a_problem_is_named_with_its_fix(
    problems: Callable[..., str], changes: dict[str, str], problem: str
) -> None:
    assert problem in problems(**changes)
