"""The wait for the database's answer, on a socket instead of psycopg2's connection."""

from __future__ import annotations

import fcntl
import os
import resource
import socket

import pytest
from psycopg2 import extensions

from app import database_timeouts
from app.database_timeouts import DatabaseTimeoutError


class Connection:
    """One end of a pair of sockets, which waits for a byte."""

    timeout = 0.01

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def fileno(self):
        return self.descriptor

    def poll(self):
        try:
            os.read(self.descriptor, 1)
        except BlockingIOError:
            return extensions.POLL_READ
        return extensions.POLL_OK


@pytest.fixture
def server():
    """Return the server's end of a connection, and the client's, whose number is above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this system allows no file descriptor above 1024")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    ours, theirs = socket.socketpair()
    descriptor = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 1024)
    os.set_blocking(descriptor, False)
    yield ours, Connection(descriptor)
    os.close(descriptor)
    ours.close()
    theirs.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_with_many_open_files_gets_its_answer(server):
    ours, connection = server
    with pytest.raises(DatabaseTimeoutError, match=r"within 0\.01 s"):
        database_timeouts._wait(connection)
    ours.send(b"x")
    database_timeouts._wait(connection)
    assert connection.timeout is None
