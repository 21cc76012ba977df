"""One connection: bounded in what it takes and in how long it may take, on Twisted's own test transport and clock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from pushmirror.control.limits import IDLE_TIMEOUT_SECONDS, MAX_REQUEST_BYTES
from pushmirror.control.protocol import PIECE_BYTES, ControlConnection


class Desk:
    """A connection with what it was asked, what it still has to answer, and who has gone."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[bytes] = []
        self.pending: Deferred[bytes] = Deferred()
        self.gone: list[ControlConnection] = []
        self.transport: Any = StringTransport()
        self.connection = ControlConnection(self.clock, self._answer, self.gone.append)
        self.connection.makeConnection(self.transport)

    def _answer(self, line: bytes) -> Deferred[bytes]:
        self.asked.append(line)
        return self.pending

    def read_all(self) -> bytes:
        """Take what is written as fast as it comes."""
        while self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        value: bytes = self.transport.value()
        return value


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_request_in_pieces_is_answered_once(desk: Desk) -> None:
    """The line may come byte by byte; what follows it is ignored; after the answer the connection closes."""
    for byte in b'{"command": "x"}\n{"command": "y"}\n':
        desk.connection.dataReceived(bytes([byte]))
    assert desk.asked == [b'{"command": "x"}']
    desk.pending.callback(b"answer\n")
    assert desk.read_all() == b"answer\n"
    assert desk.transport.disconnecting
    desk.connection.connectionLost()
    assert desk.gone == [desk.connection]
    assert desk.clock.getDelayedCalls() == []


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_request_beyond_the_limit_is_refused(end: bytes, desk: Desk) -> None:
    """Neither with nor without its end is it looked at."""
    desk.connection.dataReceived(b"x" * MAX_REQUEST_BYTES + end)
    assert desk.asked == []
    assert json.loads(desk.read_all())["ok"] is False
    assert desk.transport.disconnecting


def test_one_who_asks_nothing_is_cut_off(desk: Desk) -> None:
    """A connection without a whole request is aborted after the time limit, even if single bytes come."""
    for _ in range(3):
        desk.clock.advance(IDLE_TIMEOUT_SECONDS / 4)
        desk.connection.dataReceived(b" ")
    desk.clock.advance(IDLE_TIMEOUT_SECONDS / 4)
    assert desk.transport.disconnected


def test_one_who_waits_for_a_long_answer_is_not_cut_off(desk: Desk) -> None:
    """While the daemon works on the answer there is no time limit."""
    desk.connection.dataReceived(b"request\n")
    desk.clock.advance(100 * IDLE_TIMEOUT_SECONDS)
    assert not desk.transport.disconnected
    desk.pending.callback(b"late\n")
    assert desk.read_all() == b"late\n"


def test_one_who_does_not_read_is_cut_off(desk: Desk) -> None:
    """An answer is handed out piece by piece; a reader that stops is aborted, a slow one is not."""
    desk.connection.dataReceived(b"request\n")
    desk.pending.callback(b"x" * (4 * PIECE_BYTES))
    for _ in range(3):
        desk.transport.producer.resumeProducing()
        desk.clock.advance(IDLE_TIMEOUT_SECONDS * 0.9)
    assert len(desk.transport.value()) == 3 * PIECE_BYTES
    assert not desk.transport.disconnected
    desk.clock.advance(IDLE_TIMEOUT_SECONDS * 0.2)
    assert desk.transport.disconnected


def test_an_answer_for_one_who_has_gone_is_dropped(desk: Desk) -> None:
    """The work goes on without him and nothing is raised."""
    desk.connection.dataReceived(b"request\n")
    desk.connection.connectionLost()
    desk.pending.callback(b"answer\n")
    assert desk.transport.value() == b""
    assert desk.clock.getDelayedCalls() == []
