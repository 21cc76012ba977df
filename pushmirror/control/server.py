"""The control socket of a daemon, as a Twisted service: accepts a bounded number of connections and has them answered.

Twisted's own UNIX port is not used: it opens a socket that it is handed to the whole world (chmod 0666), and at its end
it removes whatever lies at the path, a successor's socket included.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from pushmirror.control.answers import Handler, answer_line, refuse
from pushmirror.control.limits import MAX_CONNECTIONS
from pushmirror.control.listening import open_listening
from pushmirror.control.protocol import ControlConnection

_log = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 20
ACCEPT_PAUSE_SECONDS = 1.0


class ControlServer(Service):
    """Answers requests with `handlers`: the request's ``command`` names one, the dict that it returns is the answer.

    `startService` raises StateError when another daemon answers at `path` or something else lies there, UsageError
    when no socket can be made there. A handler may return a Deferred, which goes on when the asker hangs up; its
    PushmirrorError is answered with text and exit code, any other exception is logged.
    """

    def __init__(self, reactor: Any, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._reactor = reactor
        self._path = path
        self._factory = _ControlFactory(reactor, handlers)
        self._acceptor: _Acceptor | None = None
        self._identity: tuple[int, int] | None = None

    def startService(self) -> None:
        listening = open_listening(self._path)
        self._identity = _identify(self._path)
        self._acceptor = _Acceptor(self._reactor, listening, self._factory)
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there

    def stopService(self) -> Deferred[None]:
        """Closes every connection and removes the socket, if it is still ours."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has no annotation there
        if self._acceptor is not None:
            with contextlib.suppress(OSError):
                if _identify(self._path) == self._identity:
                    os.unlink(self._path)
            self._acceptor.close()
            self._acceptor = None
            self._factory.abort_connections()
        return succeed(None)


class _ControlFactory(ServerFactory):
    noisy = False

    def __init__(self, reactor: Any, handlers: Mapping[str, Handler]) -> None:
        self._reactor = reactor
        self._handlers = handlers
        self._connections: set[ControlConnection] = set()

    def buildProtocol(self, addr: IAddress | None) -> ControlConnection | None:
        # As many again as are served are kept just long enough to be told to come later.
        if len(self._connections) >= 2 * MAX_CONNECTIONS:
            return None
        connection = ControlConnection(self._reactor, self._answer, self._connections.discard)
        self._connections.add(connection)
        return connection

    def _answer(self, line: bytes) -> Deferred[bytes]:
        if len(self._connections) > MAX_CONNECTIONS:
            return succeed(refuse("the daemon has too many control connections open; try again in a moment"))
        return answer_line(self._handlers, line)

    def abort_connections(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()


class _Acceptor:
    """Takes connections off a listening socket; what Twisted calls a read descriptor."""

    def __init__(self, reactor: Any, listening: socket.socket, factory: _ControlFactory) -> None:
        self._reactor = reactor
        self._listening = listening
        self._factory = factory
        self._pause: Any = None
        reactor.addReader(self)

    def doRead(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            with accepted:
                accepted.setblocking(False)
                self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._factory)

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: the socket would stay readable, and the reactor would spin."""
        _log.error("no control connection can be accepted: %s", error)
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(ACCEPT_PAUSE_SECONDS, self._reactor.addReader, self)

    def close(self) -> None:
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        self._reactor.removeReader(self)
        self._listening.close()

    def fileno(self) -> int:
        return self._listening.fileno()

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the descriptor up, at the end of the process."""

    def logPrefix(self) -> str:
        return "control socket"


def _identify(path: Path) -> tuple[int, int]:
    """Tells one file from another that takes its name later."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino
