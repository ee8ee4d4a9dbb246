"""The path of an error through the running stack: request, page, mail, log."""

from __future__ import annotations

import json
import re
import secrets
import time

from tests.support.compose import NOT_OF_WATCH, SETTINGS, Stack, request, wait_until


def test_page_mail_log_and_nginx_share_one_request_id(stack: Stack) -> None:
    answer = stack.drill("exception")
    assert answer.status == 500
    assert answer.request_id in answer.text
    assert "An unexpected error has occurred" in answer.text

    mail = stack.mail_of(answer.request_id)
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "Traceback (most recent call last)" in text
    assert "DrillError: Test error raised from /drill" in text
    assert mail["To"] == stack.environment["ADMINS"]
    assert mail["Subject"].startswith("[Microblog] DrillError: Test error raised from /drill")

    log = stack.make("logs", f"REQUEST={answer.request_id}").stdout
    assert "ERROR: Exception on /drill/exception [POST]" in log
    assert "flask_mayday.drill.drills.DrillError: Test error raised from /drill" in log
    nginx_line = log.strip().splitlines()[-1]
    assert re.match(r"\d{4}-.* \"POST /drill/exception\" 500 .*\[request", nginx_line)


def test_the_tutorials_database_error_exposes_no_row(stack: Stack) -> None:
    """A name is written twice, past the form's check, by a command that fails of it."""
    mark = secrets.token_hex(8)
    script = (
        "from app import create_app; from app.database import db; from app.models import User\n"
        "with create_app().app_context():\n"
        "    for number in range(2):\n"
        f"        address = f'{{number}}.{mark}@drill.invalid'\n"
        "        db.session.add(User(username='drill', email=address))\n"
        "        db.session.flush()\n"
    )
    stack.execute("web", "python", "-c", script, check=False)

    def mails() -> list[str]:
        return [m.as_string() for m in stack.mails() if "IntegrityError" in m["Subject"]]

    found = wait_until(mails, "the mail")
    assert isinstance(found, list)
    database_log = stack.compose("logs", "--no-log-prefix", "db")
    assert "duplicate key value" in database_log
    for text in (*found, stack.log(), database_log):
        assert f"{mark}@drill.invalid" not in text
        assert "(drill)" not in text


def test_a_flood_of_identical_errors_becomes_one_mail_and_one_digest_with_the_exact_count(
    stack: Stack,
) -> None:
    started = time.monotonic()
    answer = stack.drill("flood", count="300")
    assert answer.status == 200
    counts = json.loads(answer.text)
    assert counts["raised"] == 300
    title = f"from request {answer.request_id}"

    def mails() -> list[int]:
        counts = [int(m["X-Error-Count"]) for m in stack.mails() if title in m["Subject"]]
        return sorted(counts) if sum(counts) >= 300 else []

    found = wait_until(mails, "the digest")
    assert isinstance(found, list)
    assert found[0] == 1
    assert sum(found) == 300
    windows = (time.monotonic() - started) // int(SETTINGS["REPORT_WINDOW"])
    assert 2 <= len(found) <= 1 + windows  # the window may end before the last error


def test_a_log_burst_rotates_the_log_and_loses_no_line(stack: Stack) -> None:
    answer = stack.drill("log-burst", lines="9000")
    assert json.loads(answer.text) == {"ordered": 9000, "written": 9000}
    mark = f"of 9000 of a burst from /drill .*request {answer.request_id}"
    lines = re.findall(rf"Line (\d+) {mark}", stack.log())
    assert lines == [str(number) for number in range(1, 9001)]
    files = stack.shell("web", "ls -l /var/log/microblog").splitlines()
    sizes = [int(line.split()[4]) for line in files if " microblog.log" in line]
    assert len(sizes) > 1
    assert max(sizes) <= 1_048_576


def test_an_unknown_address_gets_a_page_with_the_id_and_no_mail(stack: Stack) -> None:
    before = stack.spool(f"SELECT count(*) FROM reports WHERE {NOT_OF_WATCH}")
    answer = stack.get("/nothing-here")
    assert answer.status == 404
    assert answer.request_id in answer.text
    assert "File Not Found" in answer.text
    assert stack.spool(f"SELECT count(*) FROM reports WHERE {NOT_OF_WATCH}") == before


def test_a_request_id_sent_by_a_client_is_ignored(stack: Stack) -> None:
    chosen = "0123456789abcdef" * 2
    answer = stack.get("/nothing-here", headers={"X-Request-ID": chosen})
    assert answer.request_id != chosen
    assert chosen not in answer.text


def test_a_client_that_prefers_json_gets_a_problem_document(stack: Stack) -> None:
    answer = stack.get("/nothing-here", headers={"Accept": "application/json"})
    assert answer.header("Content-Type") == "application/problem+json"
    problem = json.loads(answer.text)
    assert problem["request_id"] == answer.request_id
    assert (problem["type"], problem["status"]) == ("about:blank", 404)


def test_nginx_serves_static_files_and_our_page_for_missing_ones(stack: Stack) -> None:
    assert stack.get("/static/microblog.css").status == 200
    missing = stack.get("/static/nothing.css")
    assert missing.status == 404
    assert missing.request_id in missing.text


def test_liveness_is_public_and_readiness_is_not(stack: Stack) -> None:
    assert stack.get("/health/ready").status == 404
    assert stack.get("/health/live").status == 200
    script = (
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/health/ready').status)"
    )
    assert stack.execute("web", "python3", "-c", script).strip() == "200"


def test_no_log_contains_a_query_string(stack: Stack) -> None:
    answer = stack.get("/nothing-here?token=not-for-the-log")
    wait_until(lambda: answer.request_id in stack.compose("logs", "nginx"), "the line of nginx")
    for service in ("nginx", "web"):
        assert "not-for-the-log" not in stack.compose("logs", service)
    assert "not-for-the-log" not in stack.log()


def test_mailhog_holds_mails_that_its_ui_can_show(stack: Stack) -> None:
    page = request(f"{stack.mailhog}/")
    assert page.status == 200
    assert "MailHog" in page.text


def test_a_hung_request_gets_a_504_page_and_its_stack_is_mailed(stack: Stack) -> None:
    workers = stack.shell("web", "cat /proc/1/task/1/children").split()
    answer = stack.drill("timeout")
    assert answer.status == 504
    assert "That took too long" in answer.text
    assert answer.request_id in answer.text
    mail = stack.mail_of(answer.request_id)
    assert "Request timed out after 10 s at POST /drill/" in mail["Subject"]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "Stack of POST /drill/timeout:" in text
    assert "time.sleep" in text

    def replaced() -> bool:
        now = stack.shell("web", "cat /proc/1/task/1/children").split()
        return len(now) == 2 and now != workers

    wait_until(replaced, "the worker's replacement")
    reports = f"SELECT count(*) FROM reports WHERE request_id = '{answer.request_id}'"
    assert stack.spool(reports) == [[1]]


def test_a_worker_death_is_one_report_that_names_its_request(stack: Stack) -> None:
    before = stack.spool("SELECT coalesce(max(id), 0) FROM reports")[0][0]
    answer = stack.drill("crash")
    assert answer.status == 502
    assert answer.request_id in answer.text
    mail = stack.mail_of(answer.request_id)
    assert "was killed by SIGKILL" in mail["Subject"]
    assert mail["Subject"].endswith("at POST /drill/crash")
    query = f"SELECT request_id FROM reports WHERE id > {before} AND {NOT_OF_WATCH}"
    assert stack.spool(query) == [[answer.request_id]]
