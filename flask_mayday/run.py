"""Runs a command and reports its failure: migrations, cron jobs, anything that is not a request.

``python -m flask_mayday.run -- COMMAND [ARGUMENT...]`` passes on the command's output and exit
status. If the command fails, one report with its last lines goes to the log and to the
administrators. The settings come from the environment; if one is invalid, the command is not run,
and the exit status is 2.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import IO, Final

from .reporting.pipeline import Pipeline
from .reporting.standalone import settings_of_environment, start_pipeline
from .settings import ConfigurationError

LAST_LINES: Final = 50
LINE_LENGTH: Final = 1000  # bytes of a line that the report keeps
CHUNK: Final = 1 << 16  # bytes of output that are read at once
NOT_FOUND: Final = 127  # the shell's exit status for a command that does not exist
NOT_EXECUTABLE: Final = 126  # and for one that may not be run
DRAINED_WITHIN: Final = 5.0  # seconds to read on if the command's children keep its output open
KILLED: Final = 128  # the exit status of a killed command is this plus the signal's number
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

logger = logging.getLogger("flask_mayday.run")


class CommandFailed(Exception):  # noqa: N818 - a mail's subject begins with it
    """A command that ended with an error; its notes hold the last lines of its output."""


_pipeline: Pipeline | None = None  # keeps it alive: the registry has weak references only


def configure_reporting() -> None:
    """Send the records of this process to the log, the spool and the administrators.

    For a process without an app: the settings come from the environment. If no server is running to
    deliver the mails, they are sent when the process exits. Raises
    :exc:`flask_mayday.settings.ConfigurationError`.
    """
    global _pipeline
    # Without any handler, Python prints records to stderr: the command's output a second time.
    logger.addHandler(logging.NullHandler())
    _pipeline = start_pipeline(settings_of_environment())


def run(command: Sequence[str]) -> int:
    """Run ``command``, passing its output on, and report its failure as one CRITICAL record.

    Returns the exit status as a shell would: 127 for a command that does not exist, 126 for one
    that may not be run, 128 and the signal's number for one that was killed.
    """
    lines: deque[str] = deque(maxlen=LAST_LINES)
    try:
        # No shell: the words are the command's own arguments.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    except OSError as error:
        _report(command, f"could not be started: {error.strerror}", lines)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    _forward_signals(process)
    copies = [
        threading.Thread(target=_copy, args=(source, target, lines), daemon=True)
        for source, target in (
            (process.stdout, sys.stdout.buffer),
            (process.stderr, sys.stderr.buffer),
        )
    ]
    for copy in copies:
        copy.start()
    status = process.wait()
    for copy in copies:
        copy.join(DRAINED_WITHIN)
    if status < 0:
        _report(command, f"was killed by {_signal_name(-status)}", lines)
        return KILLED - status
    if status:
        _report(command, f"failed with exit status {status}", lines)
    return status


def name_of(command: Sequence[str]) -> str:
    """Return a command as one would type it; for ``sh -c SCRIPT``, only the script."""
    if len(command) == 3 and command[1] == "-c" and os.path.basename(command[0]) == "sh":
        return command[2]
    return shlex.join(command)


def _copy(source: IO[bytes] | None, target: IO[bytes], lines: deque[str]) -> None:
    """Write what arrives to ``target`` at once, and keep the last lines."""
    begun = b""  # of a line whose end has not arrived yet
    while source and (data := os.read(source.fileno(), CHUNK)):
        with suppress(OSError, ValueError):  # a closed ``target`` must not block the command
            target.write(data)
            target.flush()
        *ended, begun = (begun + data).split(b"\n")
        lines.extend(map(_shown, ended))
        begun = begun[:LINE_LENGTH]
    if begun:
        lines.append(_shown(begun))


def _shown(line: bytes) -> str:
    return line[:LINE_LENGTH].decode("utf-8", "replace").rstrip()


def _forward_signals(process: subprocess.Popen[bytes]) -> None:
    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        process.send_signal(number)

    for number in FORWARDED:
        if number != signal.SIGINT or not sys.stdin.isatty():
            signal.signal(number, forward)
        else:  # Ctrl-C in a terminal reaches the command directly too
            signal.signal(number, lambda *_: None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _report(command: Sequence[str], what: str, lines: deque[str]) -> None:
    failure = CommandFailed(f"{name_of(command)} {what}")
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(f"{failure}\n")
    if lines:
        failure.add_note("The end of its output:\n" + "\n".join(lines))
    logger.critical("Command failed", exc_info=failure)


def main(arguments: Sequence[str]) -> int:
    """Run the command after ``--`` and return its exit status.

    Returns 2 if there is no command, or if a setting is invalid: then it is not run.
    """
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        sys.stderr.write("Usage: python -m flask_mayday.run -- COMMAND [ARGUMENT...]\n")
        return 2
    try:
        configure_reporting()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
