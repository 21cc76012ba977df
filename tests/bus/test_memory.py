"""The bus for tests behaves as the real one does, where tests can see it."""

from __future__ import annotations

import pytest

from pushmirror.bus.interface import Receiver, Sender
from pushmirror.bus.memory import MemoryBus
from pushmirror.errors import StateError

Seen = list[tuple[bytes, bytes]]


def test_messages_wait_for_pump_and_match_by_prefix() -> None:
    """A receiver gets, in order, the messages whose topic begins with one of its topics, when the bus is pumped."""
    bus, seen = MemoryBus(), Seen()
    sender: Sender = bus.sender()
    receiver: Receiver = bus.receiver([b"a.", b"b.x"], lambda *message: seen.append(message))
    receiver.start()
    for topic in (b"a.1", b"b.y", b"b.x", b"c"):
        sender.send(topic, b"body of " + topic)
    assert seen == []
    assert bus.pump() == 4
    assert seen == [(b"a.1", b"body of a.1"), (b"b.x", b"body of b.x")]


def test_an_immediate_bus_delivers_within_send() -> None:
    """No pump is needed when the bus is immediate."""
    bus, seen = MemoryBus(immediate=True), Seen()
    bus.receiver([b""], lambda *message: seen.append(message)).start()
    bus.sender().send(b"t", b"1")
    assert seen == [(b"t", b"1")]


def test_nothing_is_delivered_before_start_or_after_close() -> None:
    """What is sent while a receiver is not open is lost to it."""
    bus, seen = MemoryBus(immediate=True), Seen()
    receiver = bus.receiver([b""], lambda *message: seen.append(message))
    sender = bus.sender()
    sender.send(b"t", b"before")
    receiver.start()
    sender.send(b"t", b"during")
    receiver.close()
    sender.send(b"t", b"after")
    assert seen == [(b"t", b"during")]


def test_strangers_and_failing_handlers_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """Messages of other than two frames are counted; an exception of a handler is logged and the next one delivered."""
    bus, seen = MemoryBus(), Seen()

    def deliver(topic: bytes, body: bytes) -> None:
        seen.append((topic, body))
        raise RuntimeError("handler fault")

    receiver = bus.receiver([b""], deliver)
    receiver.start()
    bus.inject(b"alone")
    bus.inject(b"t", b"b", b"more")
    bus.sender().send(b"t", b"1")
    bus.sender().send(b"t", b"2")
    bus.pump()
    assert receiver.dropped_frames == 2
    assert seen == [(b"t", b"1"), (b"t", b"2")]
    assert "handler fault" in caplog.text


def test_sending_on_a_closed_end_is_refused() -> None:
    """A closed sender raises StateError instead of losing messages silently."""
    sender = MemoryBus().sender()
    sender.close()
    with pytest.raises(StateError):
        sender.send(b"t", b"b")
