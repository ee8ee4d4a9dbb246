"""The settings: accepted values, refused values, and the error messages."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flask_mayday.settings import ConfigurationError, Settings, read_settings


def read(**variables: object) -> Settings:
    """Return the settings read from an environment with these variables."""
    return read_settings(environ={name: str(value) for name, value in variables.items()})


def problems(**variables: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        read(**variables)
    return caught.value.problems


def test_the_defaults_are_those_of_the_tutorial() -> None:
    settings = read()
    assert (settings.log.max_bytes, settings.log.backup_count) == (10240, 10)
    assert settings.mail.server is None
    assert not settings.drill


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("MAIL_PORT", "0", "from 1 to 65535"),
        ("MAIL_PORT", "smtp", "a whole number"),
        ("MAIL_PORT", "25.0", "a whole number"),
        ("MAIL_PORT", "٢٥", "a whole number"),
        ("MAIL_TIMEOUT", "-1", "a whole number"),
        ("MAIL_USE_TLS", "maybe", "use 1, true, yes or on"),
        ("MAIL_USE_SSL", "2", "use 1, true, yes or on"),
        ("MAIL_FROM", "nobody", "one address"),
        ("MAIL_FROM", "::1@@example.com", "one address"),
        ("ADMINS", "admin at example.com", "mail addresses"),
        ("ADMINS", "jürgen@example.com", "mail addresses"),
        ("ADMINS", "a..b@example.com", "mail addresses"),
        ("LOG_MAX_BYTES", "10K", "a whole number"),
        ("LOG_BACKUP_COUNT", "0", "a whole number"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("LOG_SLOW_MS", "0", "a whole number"),
        ("SPOOL_MAX_BYTES", "1", "a whole number"),
        ("REPORT_WINDOW", "0", "a whole number"),
        ("REPORT_MAILS_PER_HOUR", "0", "a whole number"),
        ("REPORT_KEEP_DAYS", "forever", "a whole number"),
        ("REQUEST_TIMEOUT", "1e3", "a whole number"),
        ("DRILL", "-", "use 1, true, yes or on"),
        ("TRUSTED_PROXIES", "11", "from 0 to 10"),
        ("WEB_CONCURRENCY", "0", "a whole number"),
        ("WEB_THREADS", "9999999999999999999999", "a whole number"),
    ],
)
def test_an_invalid_value_is_refused_with_name_value_and_fix(
    name: str, value: str, fix: str
) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} is {value!r}: ")
    assert fix in problem


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON", " on "])
def test_words_for_on_are_accepted(text: str) -> None:
    assert read(DRILL=text).drill


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF", ""])
def test_words_for_off_are_accepted(text: str) -> None:
    assert not read(DRILL=text).drill


SOURCES = ["MAYDAY_ environment", "MAYDAY_ config", "config", "environment"]


@pytest.mark.parametrize("first", range(4), ids=SOURCES)
def test_the_most_specific_source_wins(first: int) -> None:
    environ: dict[str, str] = {}
    config: dict[str, object] = {}
    sources = [
        (environ, "MAYDAY_MAIL_PORT", "1001"),
        (config, "MAYDAY_MAIL_PORT", 1002),
        (config, "MAIL_PORT", 1003),
        (environ, "MAIL_PORT", "1004"),
    ]
    for mapping, name, value in sources[first:]:
        mapping[name] = value  # type: ignore[index]
    assert read_settings(config, environ=environ).mail.port == 1001 + first


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_an_unset_config_value_keeps_the_environments_value(nothing: object) -> None:
    assert read_settings({"MAIL_PORT": nothing}, environ={"MAIL_PORT": "2525"}).mail.port == 2525


def test_an_invalid_value_that_may_be_another_librarys_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = {"LOG_FORMAT": "%(asctime)s %(message)s"}
    assert read_settings(config, environ={"LOG_FORMAT": "json"}).log.format == "json"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "app.config['LOG_FORMAT'] is '%(asctime)s %(message)s'" in record.getMessage()
    assert "Set MAYDAY_LOG_FORMAT" in record.getMessage()


def test_an_invalid_value_with_our_prefix_in_the_config_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="MAYDAY_LOG_FORMAT is 'xml'"):
        read_settings({"MAYDAY_LOG_FORMAT": "xml"}, environ={})


def test_lists_and_pairs_of_other_libraries_are_accepted() -> None:
    config = {"ADMINS": ["a@example.com", "b@example.com"], "MAIL_SERVER": "mail.example.com"}
    sender = {"MAIL_DEFAULT_SENDER": ("Errors", "errors@example.com")}
    mail = read_settings({**config, **sender}, environ={}).mail
    assert mail.admins == ("a@example.com", "b@example.com")
    assert mail.sender == "errors@example.com"


@pytest.mark.parametrize("sender", ["nobody", ("Errors", "nobody")])
def test_a_sender_of_flask_mail_that_is_no_address_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture, sender: object
) -> None:
    config = {"MAIL_SERVER": "mail.example.com", "ADMINS": "a@example.com"}
    mail = read_settings({**config, "MAIL_DEFAULT_SENDER": sender}, environ={}).mail
    assert mail.sender == "no-reply@mail.example.com"
    assert "app.config['MAIL_DEFAULT_SENDER'] is " in caplog.text


def test_the_name_of_a_sender_may_have_commas() -> None:
    address = "jo@example.com"
    for sender in (f"Doe, Jo <{address}>", f'"Doe, Jo" <{address}>', ("Doe, Jo", address)):
        assert read_settings({"MAIL_DEFAULT_SENDER": sender}, environ={}).mail.sender == address


@pytest.mark.parametrize("name", ["..", "a/b", "app\x1b[31m.log"])
def test_a_log_file_that_is_no_file_name_is_refused(name: str) -> None:
    (problem,) = problems(LOG_FILE=name)
    assert problem.startswith("LOG_FILE is ")


def test_relative_folders_start_at_the_instance_folder(tmp_path: Path) -> None:
    settings = read_settings({"SPOOL_DIR": "queue"}, environ={}, instance_path=tmp_path)
    assert settings.log.folder == tmp_path / "logs"
    assert settings.spool.folder == tmp_path / "queue"
    settings = read_settings({}, environ={"WATCH_EDGE_LOG": "edge"}, instance_path=tmp_path)
    assert settings.watch.edge_log == tmp_path / "edge"


def test_the_log_is_named_after_the_app() -> None:
    settings = read_settings(environ={}, import_name="shop.web")
    assert (settings.app.name, settings.log.file_name) == ("web", "web.log")


def test_all_problems_are_reported_at_once() -> None:
    found = problems(MAIL_PORT="x", LOG_LEVEL="y", WEB_THREADS="z")
    assert {text.split()[0] for text in found} == {"MAIL_PORT", "LOG_LEVEL", "WEB_THREADS"}


def test_no_message_shows_a_secret() -> None:
    text = str(problems(MAIL_PASSWORD="mail-secret", MAIL_USERNAME="me", MAIL_PORT="x"))
    assert "mail-secret" not in text


def test_the_settings_know_the_password_of_the_mail_server() -> None:
    assert read(MAIL_PASSWORD="smtp-password").secret_values == ("smtp-password",)


# Mail


def test_mail_without_administrators_is_refused() -> None:
    (problem,) = problems(MAIL_SERVER="mail.example.com")
    assert problem.startswith("ADMINS is not set")


def test_a_wrong_administrator_is_not_reported_as_missing_too() -> None:
    (problem,) = problems(MAIL_SERVER="mail.example.com", ADMINS="nobody")
    assert problem.startswith("ADMINS is 'nobody'")


def test_a_problem_of_a_setting_that_is_read_twice_is_reported_once() -> None:
    found = problems(NODE_NAME="a\x1bb", COURIERS_AGREE="1", AGREEMENT_URL="postgresql://h/d")
    assert len(found) == len(set(found))


def test_administrators_are_separated_by_commas() -> None:
    settings = read(MAIL_SERVER="mail.example.com", ADMINS="a@example.com, b@example.com,")
    assert settings.mail.admins == ("a@example.com", "b@example.com")
    assert settings.mail.sender == "no-reply@mail.example.com"


def test_a_mail_server_whose_name_gives_no_address_needs_a_sender() -> None:
    (problem,) = problems(MAIL_SERVER="::1", ADMINS="a@example.com")
    assert problem.startswith("MAIL_FROM is not set: no-reply@::1, the default, is not an address")


def test_a_mail_server_that_is_no_host_is_one_problem_not_two() -> None:
    (problem,) = problems(MAIL_SERVER="mail example", ADMINS="a@example.com")
    assert problem.startswith("MAIL_SERVER is 'mail example'")
    two = problems(MAIL_SERVER="mail example", MAIL_FROM="nobody", ADMINS="a@example.com")
    assert [one.split()[0] for one in two] == ["MAIL_SERVER", "MAIL_FROM"]


def test_both_kinds_of_tls_at_once_are_refused() -> None:
    (problem,) = problems(MAIL_USE_TLS="1", MAIL_USE_SSL="1")
    assert "both on" in problem


def test_a_mail_user_without_a_password_is_refused() -> None:
    (problem,) = problems(MAIL_USERNAME="me")
    assert problem.startswith("MAIL_PASSWORD is not set")


# The drill


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.1", "::", "example.com", "127.0.0.1.evil"])
def test_the_drill_is_refused_on_a_public_address(bind: str) -> None:
    (problem,) = problems(DRILL="1", HTTP_BIND=bind)
    assert problem.startswith("DRILL is '1'")
    assert "set DRILL=0, or HTTP_BIND=127.0.0.1" in problem


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", ""])
def test_the_drill_is_allowed_on_loopback(bind: str) -> None:
    assert read(DRILL="1", HTTP_BIND=bind).drill


def test_the_site_may_be_public_without_the_drill() -> None:
    assert not read(DRILL="0", HTTP_BIND="0.0.0.0").drill


# The agreement of several machines

AGREEMENT = {"COURIERS_AGREE": "1", "NODE_NAME": "one", "AGREEMENT_URL": "postgresql://x@db/y"}


def test_the_agreement_is_off_by_default_and_reads_no_file() -> None:
    read = read_settings({}, environ={"AGREEMENT_PASSWORD_FILE": "/nowhere"})
    assert read.agreement.url is None


def test_the_agreement_needs_a_name_for_the_node_and_a_database() -> None:
    with pytest.raises(ConfigurationError) as found:
        read_settings({}, environ={"COURIERS_AGREE": "1"})
    assert "NODE_NAME is not set" in str(found.value)
    assert "AGREEMENT_URL is not set" in str(found.value)


def test_an_address_that_cannot_be_used_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as found:
        read_settings({}, environ={**AGREEMENT, "AGREEMENT_URL": "mysql://u:hidden@db/x"})
    assert "AGREEMENT_URL cannot be used" in str(found.value)
    assert "hidden" not in str(found.value)


def test_without_psycopg2_the_agreement_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"flask-mayday\[agreement\]"):
        read_settings({}, environ=AGREEMENT)


def test_a_password_in_the_address_of_the_agreement_is_masked_in_both_forms() -> None:
    environ = {**AGREEMENT, "AGREEMENT_URL": "postgresql://x:correct%20horse@db/y"}
    values = read_settings({}, environ=environ).secret_values
    assert {"correct horse", "correct%20horse"} <= set(values)


def test_the_password_of_the_agreement_is_masked() -> None:
    environ = {**AGREEMENT, "AGREEMENT_PASSWORD": "correct-horse"}
    read = read_settings({}, environ=environ)
    assert "correct-horse" in read.secret_values
    assert "correct-horse" not in f"{read} {read!r}"
