"""Cuts a report to the size that the spool accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeVar

from .report import Report
from .traceback_data import Frame, RaisedException

MAX_REPORT_BYTES: Final = 256 << 10  # bytes of a report in the spool
# The limits to try, one pair after the other: characters of each text, and frames that are kept at
# either end of each exception.
CUTS: Final = ((16_000, 50), (4000, 20), (1000, 10), (250, 4), (60, 2))

T = TypeVar("T")


def limited_json(report: Report) -> str:
    """Return a report as JSON that fits into the spool.

    If the JSON has more than :data:`MAX_REPORT_BYTES` bytes, long texts lose their middle and
    tracebacks their middle frames, more of both with each pair of :data:`CUTS`, until it fits. The
    texts must have been redacted before: a cut could split a secret.
    """
    text = report.to_json()
    for length, frames in CUTS:
        if len(text) <= MAX_REPORT_BYTES:
            break
        report = _shorter_report(report, length, frames)
        text = report.to_json()
    return text


def _shorter_report(report: Report, length: int, frames: int) -> Report:
    return replace(
        report,
        message=cut(report.message, length),
        traceback=cut(report.traceback, length),
        stack=cut(report.stack, length),
        exceptions=tuple(_shorter_exception(one, length, frames) for one in report.exceptions),
        request=_shorter(report.request, length),
        requests=_shorter(report.requests, length),
        context=_shorter(report.context, length),
        earlier=_shorter(report.earlier, length),
    )


def cut(text: str, maximum: int) -> str:
    """Return ``text``; if it has more than ``maximum`` characters, its beginning and its end."""
    if len(text) <= maximum:
        return text
    half = maximum // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"


def _shorter_exception(raised: RaisedException, length: int, count: int) -> RaisedException:
    frames = raised.frames
    if middle := frames[count:-count]:
        end = frames[-count:]
        skipped = end[0].skipped + sum(frame.skipped + frame.times for frame in middle)
        frames = (*frames[:count], replace(end[0], skipped=skipped), *end[1:])
    return replace(
        raised,
        text=cut(raised.text, length),
        notes=tuple(cut(note, length) for note in raised.notes),
        frames=tuple(_shorter_frame(frame, length) for frame in frames),
    )


def _shorter_frame(frame: Frame, length: int) -> Frame:
    keep = length >= CUTS[1][0]  # the source is dropped first: the rest of a frame is short
    return replace(
        frame,
        file=frame.file[-length:],
        function=frame.function[:length],
        source=frame.source if keep else (),
    )


def _shorter(value: T, length: int) -> T:
    shorter: object = value
    if isinstance(value, str):
        shorter = cut(value, length)
    elif isinstance(value, (list, tuple)):
        shorter = type(value)(_shorter(inner, length) for inner in value)
    elif isinstance(value, dict):
        shorter = {key: _shorter(inner, length) for key, inner in value.items()}
    return shorter  # type: ignore[return-value]
