"""The certificate of a service that speaks https; one that was renewed is taken without a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL.SSL import TLS1_2_VERSION, TLS_SERVER_METHOD, Connection, Context
from OpenSSL.SSL import Error as TlsError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from pushmirror.errors import KeyFileError
from pushmirror.settings.certificates import check_server_certificate

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0

_Stamp = tuple[tuple[int, int, int], ...]


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """The pair at `certificate` and `key`, which is looked at again, every ten seconds at most, when somebody connects.

    Raises KeyFileError when it cannot be used at the start. Later such a pair is logged, and the one of before stays.
    `clock_s` tells the time in seconds, of any origin.
    """

    def __init__(self, certificate: Path, key: Path, clock_s: Callable[[], float]) -> None:
        self._paths = (certificate, key)
        self._clock_s = clock_s
        self._looked_s = clock_s()
        self._stamp = self._look()
        self._context = _make_context(certificate, key)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Return the TLS side of a new connection; for Twisted."""
        if self._clock_s() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock_s()
            self._renew()
        return Connection(self._context, None)

    def _renew(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._context = _make_context(*self._paths)
        except KeyFileError as error:
            _log.error("the new certificate cannot be used, and the one of before stays: %s", error)
        else:
            _log.info("the certificate %s is a new one, and is used from now on", self._paths[0])

    def _look(self) -> _Stamp:
        """Return what tells one version of the files from another; () while one of them is missing."""
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in found)


def _make_context(certificate: Path, key: Path) -> Context:
    check_server_certificate(certificate, key)
    context = Context(TLS_SERVER_METHOD)
    context.set_min_proto_version(TLS1_2_VERSION)
    try:
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except TlsError as error:  # it was replaced between the check and here, or is of a kind that OpenSSL refuses
        raise KeyFileError(f"{certificate}: cannot be used together with {key}: look whether both are new") from error
    return context
