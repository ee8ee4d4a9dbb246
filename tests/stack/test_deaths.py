"""Processes that end in the container: killed when out of memory, a failed migration."""

from __future__ import annotations

from tests.support.compose import NOT_OF_WATCH, Stack, wait_until

MADE = "SELECT json_extract(body, '$.message') FROM reports WHERE id > {} AND " + NOT_OF_WATCH
GREEDY = "kept = []\nwhile True: kept.append(b'x' * (8 << 20))"


def last_report(stack: Stack) -> int:
    return int(str(stack.spool("SELECT coalesce(max(id), 0) FROM reports")[0][0]))


def test_a_worker_killed_when_out_of_memory_is_one_report(stack: Stack) -> None:
    """The container runs out of memory, and the kernel kills the process set by oom_score_adj."""
    before = last_report(stack)
    workers = stack.shell("web", "cat /proc/1/task/1/children").split()
    stack.shell("web", f"echo 1000 >/proc/{workers[0]}/oom_score_adj")
    stack.shell("web", f'python3 -c "{GREEDY}"', check=False)
    made = MADE.format(before)
    (message,) = wait_until(lambda: stack.spool(made), "a report")[0]  # type: ignore[index]
    subject = "was killed by SIGKILL: out of memory, according to the kernel (limit: 512 MiB)"
    assert message == f"Worker {workers[0]} {subject}"
    wait_until(
        # A subject is cut where it is too long.
        lambda: [mail for mail in stack.mails() if subject[:60] in mail["Subject"]],
        "the mail",
    )
    wait_until(
        lambda: len(stack.shell("web", "cat /proc/1/task/1/children").split()) == 2,
        "another worker",
    )
    assert stack.spool(made) == [[message]]
    # Docker remembers that a container ran out of memory until it is started again.
    stack.compose("restart", "web")
    wait_until(lambda: stack.health("web") == "healthy", "the restarted container")


def test_a_failed_migration_is_reported_once_and_mailed(stack: Stack) -> None:
    before = last_report(stack)
    upgrade = ("run", "--rm", "--no-deps", "-T", "migrate", "flask", "db", "upgrade")
    stack.compose(*upgrade, "no-such-revision", check=False)
    made = MADE.format(before)
    ((message,),) = stack.spool(made)
    assert "no-such-revision" in str(message)
    wait_until(
        lambda: [mail for mail in stack.mails() if "no-such-revision" in mail["Subject"]],
        "the mail",
    )
