"""What ends a process of the app in its container: want of memory, and a migration that fails."""

from __future__ import annotations

from tests.support.compose import Stack, wait_until

GREEDY = "kept = []\nwhile True: kept.append(b'x' * (8 << 20))"


def last_report(stack: Stack) -> int:
    return int(str(stack.spool("SELECT coalesce(max(id), 0) FROM reports")[0][0]))


def test_a_worker_that_is_killed_for_want_of_memory_is_one_report(stack: Stack) -> None:
    """The container's memory runs out, and the kernel takes the process that it is told to."""
    before = last_report(stack)
    workers = stack.shell("web", "cat /proc/1/task/1/children").split()
    stack.shell("web", f"echo 1000 >/proc/{workers[0]}/oom_score_adj")
    stack.shell("web", f'python3 -c "{GREEDY}"', check=False)
    made = f"SELECT json_extract(body, '$.message') FROM reports WHERE id > {before}"
    (message,) = wait_until(lambda: stack.spool(made), "a report", 10)[0]  # type: ignore[index]
    assert message == f"Worker {workers[0]} was killed by SIGKILL (out of memory?)"
    subject = "was killed by SIGKILL (out of memory?)"
    wait_until(
        lambda: [mail for mail in stack.mails() if subject in mail["Subject"]], "the mail", 10
    )
    wait_until(
        lambda: len(stack.shell("web", "cat /proc/1/task/1/children").split()) == 2,
        "another worker",
        10,
    )
    assert stack.spool(made) == [[message]]


def test_a_migration_that_fails_is_one_report_and_mailed(stack: Stack) -> None:
    before = last_report(stack)
    upgrade = ("run", "--rm", "--no-deps", "-T", "migrate", "flask", "db", "upgrade")
    stack.compose(*upgrade, "no-such-revision", check=False)
    made = f"SELECT json_extract(body, '$.message') FROM reports WHERE id > {before}"
    ((message,),) = stack.spool(made)
    assert "no-such-revision" in str(message)
    wait_until(
        lambda: [mail for mail in stack.mails() if "no-such-revision" in mail["Subject"]],
        "the mail",
        10,
    )
