"""Checks when the certificate of the site expires."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from . import texts
from .conditions import Condition

TIMEOUT: Final = 5.0  # seconds for each step of the connection
# A certificate raises an alert in its last two weeks, or in the last fifth of its validity if that
# is shorter.
SOON: Final = 14 * 86_400.0  # seconds
SHARE: Final = 0.2


def certificate_conditions(host: str, port: int, name: str, now: float) -> Iterator[Condition]:
    """Yield whether the certificate that a host presents for ``name`` expires soon.

    Yields nothing if the host does not answer, which is reported elsewhere.
    """
    try:
        found = validity(host, port, name)
    except (OSError, ValueError):
        return
    if found is None:
        yield Condition("certificate", texts.certificate_expires(name, None, now))
        return
    begins, expires = found
    limit = min(SOON, SHARE * (expires - begins))
    alert = texts.certificate_expires(name, expires, now) if expires - now < limit else None
    yield Condition("certificate", alert)


def validity(host: str, port: int, name: str) -> tuple[float, float] | None:
    """Return when the validity of a server's certificate begins and ends, whoever issued it.

    Times are in seconds since the epoch. Returns ``None`` if it has expired, since Python does not
    say when. Raises :exc:`OSError`.
    """
    open_context = ssl.create_default_context()
    open_context.check_hostname = False
    open_context.verify_mode = ssl.CERT_NONE
    with _connection(open_context, host, port, name) as connection:
        encoded = connection.getpeercert(binary_form=True)
    if encoded is None:
        raise OSError("the server has no certificate")
    # Python parses only a certificate that it trusts.
    trusting = ssl.create_default_context(cadata=encoded)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        with _connection(trusting, host, port, name) as connection:
            found = connection.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        if "expired" in error.verify_message:
            return None
        raise
    begins, expires = (str(found[key]) for key in ("notBefore", "notAfter"))
    return ssl.cert_time_to_seconds(begins), ssl.cert_time_to_seconds(expires)


def _connection(context: ssl.SSLContext, host: str, port: int, name: str) -> ssl.SSLSocket:
    connection = socket.create_connection((host, port), TIMEOUT)
    try:
        return context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise
