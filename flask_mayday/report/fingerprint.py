"""The fingerprint of an error: identical errors share it, different ones do not.

A fingerprint is 16 hex digits. The first is the version of the algorithm, :data:`VERSION`, the
others are a hash. The same error has the same fingerprint on every host and in every release.

An error can have *former* fingerprints: those that it would have had by an earlier rule. The
courier finds the group of a known error by them, so that a better grouping does not mail every old
error as new. Whoever changes what goes into the hash must therefore raise :data:`VERSION` and keep
the old computation as a former one.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Final

from ..context.error_text import exact
from ..context.record_fields import GROUP
from .traceback_data import Frame, RaisedException, made_once
from .traceback_reader import MAX_EXCEPTIONS

VERSION: Final = "1"  # one hex digit
HEX_DIGITS: Final = 16  # including the version
MESSAGE_LENGTH: Final = 1000  # characters at a message's beginning that count

# Parts of a message that differ from one occurrence of an error to the next: a text that the part
# contains, and its pattern. The pattern is slower, and is not tried on a message without the text.
VARYING: Final = (
    ("", re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "<quoted>"),
    ("://", re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s<>]+", re.IGNORECASE), "<url>"),
    ("@", re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.\w+"), "<address>"),
    ("-", re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I), "<hex>"),
    ("", re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{6,}\b", re.I), "<hex>"),
    # IPv6: the patterns above do not match its groups of at most four hex digits.
    (":", re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.I), "<n>"),
    ("", re.compile(r"\d+"), "<n>"),
)


def fingerprints(
    record: logging.LogRecord,
    error: BaseException | None,
    message: str,
    exceptions: Sequence[RaisedException],
) -> tuple[str, ...]:
    """Return the fingerprint of an error, followed by its former ones, the latest first.

    ``exceptions`` is ``error`` as :class:`.traceback_reader.ExceptionReader` has read it, and
    ``message`` its redacted message. The fingerprint of an exception is made of

    - its type, and those of its cause and of a group's members;
    - the app's own frames (file and function, because line numbers change with every release) and
      the source line of the last one; without own frames, the frame that raised;
    - the message with its varying parts masked.

    That of a record without an exception is made of its logger, level, function and message. An
    exception's attribute ``report_fingerprint``, a string, and a record's attribute ``GROUP``
    replace all of these.
    """
    if isinstance(group := getattr(record, GROUP, None), str):
        return (hash_of(f"group\0{group}"),)
    parts = [mask_varying(message[:MESSAGE_LENGTH])]
    if error is None:
        parts += [record.name, record.levelname, f"{record.module}.{record.funcName}"]
        return (hash_of("\0".join(parts)),)
    chosen = _chosen_text(error)
    found = hash_of("\0".join([*parts, *_types(error), *_frames(exceptions), chosen]))
    # An earlier version hashed the text together with the rest: that is the former fingerprint.
    return (hash_of_choice(chosen), found) if chosen else (found,)


def hash_of_choice(text: str) -> str:
    """Return the fingerprint of the errors for which an app has chosen ``text``."""
    return hash_of(f"chosen\0{text[:MESSAGE_LENGTH]}")


def hash_of(text: str) -> str:
    """Return a fingerprint made of one text."""
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    return VERSION + digest[: HEX_DIGITS - len(VERSION)]


def mask_varying(message: str) -> str:
    """Return a message without the parts that vary from one occurrence to the next."""
    for text, pattern, replacement in VARYING:
        if text in message:
            message = pattern.sub(replacement, message)
    return message


def _types(error: BaseException) -> Iterator[str]:
    yield from (type(error).__module__, type(error).__qualname__)
    if isinstance(error, BaseExceptionGroup):
        members = {type(member).__qualname__ for member in error.exceptions[:MAX_EXCEPTIONS]}
        yield from sorted(members)
    if error.__cause__ is not None:
        yield f"from {type(error.__cause__).__qualname__}"


def _frames(exceptions: Sequence[RaisedException]) -> Iterator[str]:
    frames = next((one.frames for one in reversed(exceptions) if one.depth == 0), ())
    calls, last = made_once(frames, _own_calls)
    yield from calls
    if last is not None:
        yield _source_line(last, exceptions)
    elif frames:
        yield f"{frames[-1].file}:{frames[-1].function}"


def _own_calls(frames: Sequence[Frame]) -> tuple[list[str], Frame | None]:
    """Return the app's own calls, and the last of those frames.

    Each call counts once: the depth of a recursion varies from one error to the next.
    """
    own = [frame for frame in frames if frame.own]
    calls = dict.fromkeys(f"{frame.stable}:{frame.function}" for frame in own)
    return list(calls), own[-1] if own else None


def _source_line(frame: Frame, exceptions: Sequence[RaisedException]) -> str:
    """Return a frame's source line; a report has it once, perhaps at another exception."""
    for raised in exceptions:
        for one in raised.frames:
            if one.source and (one.stable, one.line) == (frame.stable, frame.line):
                return dict(one.numbered_source()).get(frame.line, "").strip()
    return ""


def _chosen_text(error: BaseException) -> str:
    try:
        return exact(getattr(error, "report_fingerprint", ""))[:MESSAGE_LENGTH]
    except Exception:
        return ""
