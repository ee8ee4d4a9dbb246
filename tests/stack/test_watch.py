"""Every kind of outage is reported. One running stack serves all tests, in the file's order."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from flask_mayday.watch.watcher import CHECK_TIMEOUT
from tests.support.checkout import clone_checkout
from tests.support.compose import PROJECT, Stack, end, request, wait_until
from tests.support.steady_load import steady_load

TOKEN = "b0c1d2e3-not-for-the-log"
DOWN, BACK = "The site does not answer", "The site answers again"
CRASHES = "services:\n  web: {environment: {FLASK_APP: 'no_such_module:app'}}\n"
# The log on a disk of its own that can be filled.
TMPFS = "{type: tmpfs, device: tmpfs, o: 'size=32m,uid=10001,gid=10001,mode=0750'}"
SMALL_LOGS = f"volumes:\n  logs: {{driver_opts: {TMPFS}}}\n"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose heartbeat goes to a container on its own network."""
    clone = clone_checkout(tmp_path_factory.mktemp("watch") / "clone")
    stack = Stack(f"{PROJECT}-watch", clone)
    stack.remove()
    (clone / "secrets/heartbeat_url").write_text(f"http://pulse:8000/{TOKEN}")
    (clone / "compose.override.yaml").write_text(SMALL_LOGS)
    stack.compose("build")
    stack.up()
    run = ["docker", "run", "--detach", "--rm", "--name", f"{stack.project}-pulse"]
    run += ["--network", f"{stack.project}_front", "--network-alias", "pulse"]
    stack.run(*run, f"{stack.project}-web", "python", "-m", "http.server", "8000")
    yield stack
    stack.run("docker", "rm", "--force", f"{stack.project}-pulse")
    end(stack)


def heartbeats(stack: Stack) -> list[datetime]:
    done = stack.run("docker", "logs", "--timestamps", f"{stack.project}-pulse")
    lines = (done.stdout + done.stderr).splitlines()
    return [datetime.fromisoformat(line.split()[0]) for line in lines if f"/{TOKEN}" in line]


def mails(stack: Stack, words: str) -> list[EmailMessage]:
    """Return the mails with these words in their subject, the newest first."""
    return [mail for mail in stack.mails() if words in mail["Subject"]]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())  # type: ignore[attr-defined]


def expect_outage(
    stack: Stack,
    record_property: Callable[[str, object], None],
    break_it: Callable[[], object],
    repair: Callable[[], object],
    cause: str,
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[int | str, int]:
    """Break the site under load and repair it; return what the visitors got.

    Checks that there is one mail for each, that the first names the cause, and that no heartbeat is
    sent meanwhile.
    """
    down, back = len(mails(stack, DOWN)), len(mails(stack, BACK))
    with steady_load(lambda: request(f"{stack.url}/explore", timeout=60).status) as outcomes:
        wait_until(lambda: outcomes[200] > 10, "answers")
        try:
            break_it()
            begun = time.monotonic()
            wait_until(lambda: len(mails(stack, DOWN)) > down, "the mail")
            seconds = time.monotonic() - begun
            assert re.search(cause, text_of(mails(stack, DOWN)[0]))
            meanwhile()
        finally:
            repair()
        wait_until(lambda: len(mails(stack, BACK)) > back, "the second mail")
        wait_until(lambda: request(f"{stack.url}/explore").status == 200, "a page")
    assert len(mails(stack, DOWN)) == down + 1
    assert len(mails(stack, BACK)) == back + 1
    ((began, ended),) = stack.spool("SELECT began, ended FROM outages ORDER BY began DESC LIMIT 1")
    first = datetime.fromtimestamp(float(str(began)), UTC) + timedelta(seconds=CHECK_TIMEOUT + 2)
    last = datetime.fromtimestamp(float(str(ended)), UTC)
    assert [beat for beat in heartbeats(stack) if first < beat < last] == []
    record_property(cause, f"mailed after {seconds:.1f} s, visitors got {dict(outcomes)}")
    return outcomes


def counted_pages(stack: Stack) -> int:
    """Return how many error pages of nginx visitors got, as the last mail says."""
    found = re.search(r"visitors got (\d+) error pages?", mails(stack, BACK)[0]["Subject"])
    assert found is not None
    return int(found[1])


def kill_watch(stack: Stack) -> None:
    """Kill the process as the kernel would: Docker does not restart what `docker kill` ends."""
    container: dict[str, dict[str, object]] = stack.inspect("watch")  # type: ignore[assignment]
    pid = container["State"]["Pid"]
    stack.run("kill", "-9", str(pid))
    wait_until(
        lambda: (
            stack.inspect("watch")["RestartCount"] != container["RestartCount"]
            and stack.health("watch") == "healthy"
        ),
        "the watch's return",
    )


def test_killed_containers_are_reported_with_the_number_of_error_pages(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    outcomes = expect_outage(
        stack,
        record_property,
        lambda: stack.run("docker", "kill", *stack.containers("web")),
        lambda: stack.compose("up", "--detach", "--wait", "--no-build", "web"),
        "No container of web is running",
        lambda: kill_watch(stack),
    )
    assert set(outcomes) == {200, 502}
    assert counted_pages(stack) == outcomes[502]
    requests = re.findall(r"answered by nginx, request ([0-9a-f]{32})", _last(stack, BACK))
    assert len(requests) == min(100, outcomes[502])
    log = stack.compose("logs", "--no-log-prefix", "nginx")
    assert f"[request {requests[0]}]" in log


def _last(stack: Stack, words: str) -> str:
    return text_of(mails(stack, words)[0])


def test_a_paused_container_is_reported(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    outcomes = expect_outage(
        stack,
        record_property,
        lambda: stack.compose("pause", "web"),
        lambda: stack.compose("unpause", "web"),
        "It is paused or hung",
    )
    # Also the app answers with 504 what has waited too long.
    assert 0 < counted_pages(stack) <= outcomes[502] + outcomes[504]


def test_a_stopped_database_is_reported_once_even_if_watch_is_killed(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    expect_outage(
        stack,
        record_property,
        lambda: stack.compose("stop", "db"),
        lambda: stack.compose("start", "db"),
        "the database is unavailable",
        lambda: kill_watch(stack),
    )


def test_a_crash_loop_is_reported_as_one_outage(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    override = stack.directory / "compose.override.yaml"

    def crash() -> None:
        override.write_text(SMALL_LOGS + CRASHES)
        stack.compose("up", "--detach", "--no-build", "--no-deps", "web")

    def repair() -> None:
        override.write_text(SMALL_LOGS)
        stack.compose("up", "--detach", "--wait", "--no-build", "--no-deps", "web")

    expect_outage(stack, record_property, crash, repair, "web keeps restarting|fails to start")


def test_a_failed_migration_is_mailed_while_web_is_gone(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    def fail() -> None:
        stack.run("docker", "rm", "--force", *stack.containers("web"))
        stack.run("docker", "compose", "up", "--detach", "--no-build", check=False, MIGRATE="false")

    expect_outage(
        stack,
        record_property,
        fail,
        lambda: stack.compose("up", "--detach", "--wait", "--no-build"),
        "No container of web is running",
    )
    assert mails(stack, "CommandFailed: false failed with exit status 1")


def test_a_restart_and_a_roll_are_no_outage(stack: Stack) -> None:
    before = len(mails(stack, DOWN))
    wait_until(lambda: heartbeats(stack), "a heartbeat")
    stack.compose("restart", "web")
    wait_until(lambda: request(f"{stack.url}/explore").status == 200, "a page")
    stack.make("up", WEB_CONCURRENCY="1")
    assert len(mails(stack, DOWN)) == before
    stack.make("down")
    stack.make("up")
    wait_until(lambda: stack.health("watch") == "healthy", "the watch")
    state = json.loads(stack.shell("watch", "cat /var/spool/microblog/watch.json"))
    assert state["phase"] in ("starting", "up")
    assert mails(stack, DOWN) == []  # make down has emptied MailHog


def test_watch_uses_little_memory_and_cpu(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    ticks = "import os; print(*open('/proc/1/stat').read().rsplit(')')[1].split()[11:13])"

    def seconds() -> float:
        used = stack.execute("watch", "python3", "-c", ticks).split()
        return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")

    before, begun = seconds(), time.monotonic()
    found = re.search(r"VmRSS:\s+(\d+) kB", stack.shell("watch", "cat /proc/1/status"))
    assert found is not None
    assert int(found[1]) < 60_000
    time.sleep(15)  # what is measured is an idle process
    share = (seconds() - before) / (time.monotonic() - begun)
    assert share < 0.1  # a hundredth on a quiet machine
    record_property("watch", f"{int(found[1]) / 1024:.0f} MiB, {share:.2%} of a core")


def test_no_log_shows_the_address_of_the_heartbeat(stack: Stack) -> None:
    wait_until(lambda: heartbeats(stack), "a heartbeat")
    assert TOKEN not in stack.compose("logs") + stack.log()


def watch_log(stack: Stack) -> str:
    return stack.compose("logs", "--no-log-prefix", "watch")


def test_a_full_log_is_mailed_and_delays_no_page(stack: Stack) -> None:
    def is_full() -> bool:
        stack.get("/explore")  # writes a line
        return "No space left on device" in stack.get("/health/live").text

    stack.shell("web", "cat /dev/zero >/var/log/microblog/filler || true")
    try:
        wait_until(is_full, "a log that is full")
        identifier = stack.drill("exception", message="while the log is full").request_id
        wait_until(lambda: mails(stack, "The volume logs is full"), "the mail")
        stack.mail_of(identifier)
        assert identifier in stack.compose("logs", "--no-log-prefix", "web")
    finally:
        stack.shell("web", "rm /var/log/microblog/filler")
    wait_until(
        lambda: stack.drill("exception", message="afterwards").request_id in stack.log(),
        "a log that can be written again",
    )
    assert '"log":"ok"' in stack.get("/health/live").text.replace(" ", "")


def test_restarts_of_nginx_are_mailed_and_those_of_the_database_are_seen(stack: Stack) -> None:
    url = "http://web.inner:8001/health/ready"
    script = f"import urllib.request; print(urllib.request.urlopen('{url}').read().decode())"

    def database_started() -> object:
        printed = stack.execute("watch", "python3", "-c", script, check=False)
        return json.loads(printed)["database_started"] if printed else None

    before = database_started()
    assert before
    stack.run("docker", "restart", "--time", "5", *stack.containers("db"))
    wait_until(lambda: database_started() not in (None, before), "another start of the database")

    def is_up() -> bool:
        with suppress(OSError):
            return request(f"{stack.url}/explore", timeout=60).status == 200
        return False

    def restart_once_more() -> bool:
        stack.run("docker", "restart", "--time", "1", *stack.containers("nginx"))
        wait_until(is_up, "a page")
        return bool(mails(stack, "nginx keeps restarting: "))

    wait_until(restart_once_more, "the mail")


def test_a_mail_that_waits_stops_the_heartbeat(stack: Stack) -> None:
    older = "UPDATE mails SET created = created - 100 WHERE state = 'waiting'"
    age = (
        "import sqlite3; spool = sqlite3.connect('/var/spool/microblog/reports.db', timeout=60);"
        f'rows = spool.execute("{older}"); spool.commit(); print(rows.rowcount)'
    )
    stack.run("docker", "stop", "--time", "1", *stack.containers("mailhog"))
    try:
        stack.drill("exception", message="while no mail can be sent")
        wait_until(lambda: stack.execute("web", "python3", "-c", age) != "0\n", "a mail that waits")
        reason = "No heartbeat is sent to HEARTBEAT_URL: mail is waiting: "
        wait_until(lambda: reason in watch_log(stack), "the end of the heartbeat")
    finally:
        stack.run("docker", "start", *stack.containers("mailhog", "--all"))
        wait_until(lambda: request(f"{stack.mailhog}/api/v2/jim").status == 404, "MailHog")
    stack.execute("web", "flask", "reports", "retry")
    wait_until(lambda: mails(stack, "while no mail can be sent"), "the mail")


def test_a_spool_that_cannot_be_written_stops_the_heartbeat_and_is_mailed_directly(
    stack: Stack,
) -> None:
    def set_mode(mode: str) -> None:
        volume = f"--volume={stack.project}_spool:/spool"
        docker = ["docker", "run", "--rm", "--user=0", "--entrypoint=sh", volume]
        script = f"find /spool -type d -exec chmod {mode} '{{}}' +"
        stack.run(*docker, f"{stack.project}-web", "-c", script)

    set_mode("0500")
    try:
        reason = (
            "No heartbeat is sent to HEARTBEAT_URL: the spool cannot be written: Permission denied"
        )
        wait_until(lambda: reason in watch_log(stack), "the end of the heartbeat")
        wait_until(lambda: mails(stack, "The spool cannot be written"), "the mail")
        assert "directly by watch, because the spool failed" in text_of(
            mails(stack, "The spool cannot be written")[0]
        )
    finally:
        set_mode("0700")
    sent = len(heartbeats(stack))
    wait_until(lambda: len(heartbeats(stack)) > sent, "the next heartbeat")
