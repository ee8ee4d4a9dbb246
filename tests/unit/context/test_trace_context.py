"""The trace of a request: taken from trusted proxies only, and passed on."""

from __future__ import annotations

import pytest

from flask_mayday.context import trace_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def found(sent: str, *, trusted: bool = True) -> trace_context.TraceContext | None:
    environ: dict[str, object] = {trace_context.SENT: sent}
    trace_context.begin(environ, trusted=trusted)
    return trace_context.trace_of(environ)


def test_the_trace_of_a_proxy_is_continued_with_a_span_of_our_own() -> None:
    trace = found(SENT)
    assert trace is not None
    assert (trace.trace_id, trace.flags) == (TRACE, "01")
    assert trace.header() == f"00-{TRACE}-{trace.span_id}-01"
    assert trace.span_id != "00f067aa0ba902b7"


def test_a_visitor_cannot_choose_a_trace() -> None:
    assert found(SENT, trusted=False) is None


def test_a_later_version_of_the_standard_is_understood() -> None:
    assert found(f"{SENT}-more".replace("00-", "01-", 1)) is not None


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        SENT.upper(),
        f"{SENT}-more",
        SENT.replace("00-", "ff-", 1),
        SENT.replace(TRACE, "0" * 32),
        SENT.replace("00f067aa0ba902b7", "0" * 16),
        SENT.replace("-01", "-1"),
        SENT + "\n[forged]",
    ],
)
def test_an_invalid_traceparent_is_ignored(sent: str) -> None:
    assert found(sent) is None


def test_a_thread_without_a_request_has_no_trace() -> None:
    assert trace_context.trace_of(None) is None
