"""What the commands say if the mails in MailHog cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.web_server import web_server


@pytest.fixture
def mailhog(load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load("docker/verbs/mailhog.py")
    monkeypatch.setattr(module, "PASSWORD", tmp_path / "mailhog_password")
    return module


def test_a_mailhog_that_is_down_is_named_with_what_to_run(mailhog: Any) -> None:
    with web_server() as guard:
        guard.status = 502
        with pytest.raises(SystemExit, match=r"does not answer: HTTP Error 502.* make ps"):
            mailhog.captured_mails(guard.url, 1)
    with pytest.raises(SystemExit, match=r"does not answer: .*refused.* make ps"):
        mailhog.captured_mails(guard.url, 1)


def test_a_password_that_is_not_text_is_named(mailhog: Any) -> None:
    mailhog.PASSWORD.write_bytes(b"\xff" * 12)
    with pytest.raises(SystemExit, match="cannot be read: it is not text in UTF-8"):
        mailhog.own_password()
