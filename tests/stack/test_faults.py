"""The table of faults: what the visitor saw, what the log has, what was mailed, and how soon."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from tests.stack.test_pages import all_well, database_down, database_frozen
from tests.support.compose import SETTINGS, Answer, Stack, wait_until

TIMEOUT = float(SETTINGS["REQUEST_TIMEOUT"])


@dataclass(frozen=True)
class Fault:
    """What is broken, which status follows, and by which words log and mail can be known."""

    name: str
    ask: Callable[[Stack], Answer]
    status: int
    words: str
    condition: Callable[[Stack], AbstractContextManager[None]] = all_well
    page_within: float = TIMEOUT - 1  # seconds; the usual times are printed
    mail_within: float = 60.0  # seconds after the report, a digest's wait included


def drill(kind: str) -> Callable[[Stack], Answer]:
    return lambda stack: stack.drill(kind)


def explore(stack: Stack) -> Answer:
    return stack.get("/explore")


FAULTS = [
    Fault("exception", drill("exception"), 500, "DrillError"),
    Fault("template that fails", drill("template"), 500, "UndefinedError"),
    Fault("statement that the database refuses", drill("database"), 500, "ProgrammingError"),
    Fault("service that is down", drill("unavailable"), 503, "DrillUnavailableError"),
    Fault("database stopped", explore, 503, "OperationalError", database_down),
    Fault("database frozen", explore, 503, "DatabaseTimeoutError", database_frozen),
    Fault("request hangs", drill("timeout"), 504, "Request timed out", all_well, TIMEOUT + 10),
    Fault("worker killed", drill("crash"), 502, "was killed by SIGKILL"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_a_page_a_log_entry_and_a_mail_under_one_request_id(
    stack: Stack, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    with fault.condition(stack):
        begun = time.monotonic()
        answer = fault.ask(stack)
        page_after = time.monotonic() - begun
    assert answer.status == fault.status
    assert answer.request_id in answer.text
    assert page_after < fault.page_within

    def delivered() -> list[list[object]]:
        return stack.spool(
            "SELECT kind, subject, finished - time FROM reports JOIN mails ON mails.id = mail_id"
            f" WHERE request_id = '{answer.request_id}' AND state = 'delivered'"
        )

    rows = wait_until(delivered, "the mail")
    assert isinstance(rows, list)
    ((kind, subject, mail_after),) = rows
    assert fault.words in str(subject)
    assert float(str(mail_after)) < fault.mail_within
    log = stack.make("logs", f"REQUEST={answer.request_id}").stdout
    (line,) = re.findall(r" (ERROR|CRITICAL): ", log)
    assert fault.words in log
    record_property("visitor", f"{answer.status} after {page_after:.2f} s")
    record_property("log", f"{line} with {'traceback' if 'Traceback' in log else 'stack'}")
    record_property("mail", f"one {kind} {float(str(mail_after)):.2f} s after the report")
