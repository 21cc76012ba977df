"""What the daemons need of a bus: something to send with, something that delivers. Transports implement these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Deliver = Callable[[bytes, bytes], None]
"""Called once for each message with its topic frame and its body frame."""


class Sender(Protocol):
    """Sends messages to whoever listens; there is no telling who that is."""

    def send(self, topic: bytes, body: bytes) -> None:
        """Hand one message to the transport, without waiting. StateError after `close`."""

    def close(self) -> None:
        """Give back what is held. Closing twice is no error."""


class Receiver(Protocol):
    """Delivers the messages of its topics (a topic matches every topic that it is a prefix of)."""

    @property
    def dropped_frames(self) -> int:
        """How many messages were dropped because they did not have exactly two frames."""

    @property
    def fault(self) -> str | None:
        """Why nothing can come, for people; None when there is a connection, or nobody to connect to."""

    def start(self) -> None:
        """Begin to deliver."""

    def reconnect(self) -> None:
        """Drop the connection and make a new one; for an upstream that has fallen silent."""

    def close(self) -> None:
        """Deliver nothing more. Closing twice is no error."""


class DelayedCall(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...

    def active(self) -> Any: ...


class DescriptorReactor(Protocol):
    """The part of a Twisted reactor (IReactorFDSet, IReactorTime) that a transport needs."""

    def seconds(self) -> float: ...

    def callLater(self, delay_seconds: float, function: Callable[..., Any], /, *arguments: Any) -> DelayedCall: ...

    def addReader(self, reader: Any) -> None: ...

    def removeReader(self, reader: Any) -> None: ...

    def addWriter(self, writer: Any) -> None: ...

    def removeWriter(self, writer: Any) -> None: ...
