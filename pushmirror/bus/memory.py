"""A bus inside one process, for tests: the same interface and topic rule as ZeroMQ, without sockets or waiting."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from pushmirror.bus.frames import FrameAssembler
from pushmirror.bus.interface import Deliver
from pushmirror.errors import StateError

_log = logging.getLogger(__name__)


class MemoryBus:
    """Carries every message to all receivers that have started: on `pump`, or at once when `immediate`."""

    def __init__(self, *, immediate: bool = False) -> None:
        self._immediate = immediate
        self._waiting: deque[tuple[bytes, ...]] = deque()
        self._receivers: list[MemoryReceiver] = []

    def sender(self) -> MemorySender:
        return MemorySender(self)

    def receiver(self, topics: Sequence[bytes], deliver: Deliver) -> MemoryReceiver:
        """A receiver that is not started yet."""
        receiver = MemoryReceiver(topics, deliver)
        self._receivers.append(receiver)
        return receiver

    def inject(self, *frames: bytes) -> None:
        """Put a message of any number of frames on the bus, as a stranger could."""
        self._waiting.append(frames)
        if self._immediate:
            self.pump()

    def pump(self) -> int:
        """Carry everything that waits, also what is sent meanwhile; returns how many messages that were."""
        carried = 0
        while self._waiting:
            frames = self._waiting.popleft()
            carried += 1
            for receiver in self._receivers:
                receiver.take(frames)
        return carried


class MemorySender:
    """The sending end; implements `Sender`."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus: MemoryBus | None = bus

    def send(self, topic: bytes, body: bytes) -> None:
        if self._bus is None:
            raise StateError("this end of the bus is closed; nothing can be sent on it")
        self._bus.inject(topic, body)

    def close(self) -> None:
        self._bus = None


class MemoryReceiver:
    """A receiving end; implements `Receiver`. `reconnects` counts how often a new connection was asked for."""

    def __init__(self, topics: Sequence[bytes], deliver: Deliver) -> None:
        self._topics = tuple(topics)
        self._deliver = deliver
        self._assembler = FrameAssembler()
        self._started = False
        self.reconnects = 0

    @property
    def dropped_frames(self) -> int:
        return self._assembler.dropped_messages

    @property
    def fault(self) -> str | None:
        return None

    def start(self) -> None:
        self._started = True

    def reconnect(self) -> None:
        self.reconnects += 1

    def close(self) -> None:
        self._started = False

    def take(self, frames: tuple[bytes, ...]) -> None:
        """Deliver the message if it is ours. What `deliver` raises is logged, as on a real bus."""
        if not self._started or not frames or not frames[0].startswith(self._topics):
            return
        for index, frame in enumerate(frames, start=1):
            message = self._assembler.add(frame, index < len(frames))
        if message is not None:
            try:
                self._deliver(*message)
            except Exception:  # the bus outlives whoever listens
                _log.exception("the handler of a message failed")
