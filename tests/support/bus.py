"""A publisher's side of the bus in the hands of a test: frames of any kind, honest or not."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from pushmirror.core.lists import format_changes, list_digest
from pushmirror.core.messages import HEARTBEAT, UPDATED, format_heartbeat, format_update, topic
from pushmirror.core.model import ChangeList, Head, Heartbeat, Update
from pushmirror.core.wire import canonical, compose, digest
from pushmirror.keys import PrivateKey, load_private_key, seal

EPOCH = "1700000000000-0123456789abcdef"


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class FakePublisher:
    """Binds the PUB socket of an upstream named `publisher` and signs with the key in the file `key`."""

    def __init__(self, endpoint: str, publisher: str, key: Path, *, prefix: str = "org.example") -> None:
        self.publisher = publisher
        self.key: PrivateKey = load_private_key(key)
        self._prefix = prefix
        self._counter = 0
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.PUB)
        self.socket.linger = 0
        self.socket.bind(endpoint)

    def __enter__(self) -> FakePublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()
        self._context.term()

    def topic(self, kind: str) -> str:
        """Return the topic of a message of `kind`."""
        return topic(self._prefix, "test", kind)

    def signed(self, kind: str, msg: dict[str, Any]) -> bytes:
        """Return what is signed of a message with the content `msg`, whatever that is."""
        self._counter += 1
        return compose(
            self.topic(kind), msg, msg_id=f"2026-{self._counter}", at_ms=now_ms(), counter=self._counter,
            username=self.publisher,
        )  # fmt: skip

    def sealed(self, kind: str, msg: dict[str, Any]) -> bytes:
        """Return a message with a proper signature."""
        return seal(self.signed(kind, msg), self.key)

    def update(self, tree: str, serial: int, changes: ChangeList, **replaced: Any) -> dict[str, Any]:
        """Return the content of an announcement; `replaced` keys take the place of honest ones."""
        previous_digest = None if serial == 1 else "0" * 64
        update = Update(
            self.publisher, tree, EPOCH, serial, serial - 1, previous_digest, now_ms(), False, list_digest(changes),
            changes, len(changes.changed), len(changes.deleted), 0,
        )  # fmt: skip
        return {**format_update(update), **replaced}

    def update_of_raw_list(self, tree: str, serial: int, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the content of an announcement whose list is `raw`, with the right digest for it."""
        honest = self.update(tree, serial, ChangeList())
        return {**honest, "list": {**format_changes(ChangeList()), **raw}, "list_digest": digest(canonical(
            {**format_changes(ChangeList()), **raw}
        ))}  # fmt: skip

    def heartbeat(self, trees: dict[str, Head]) -> dict[str, Any]:
        """Return the content of a heartbeat."""
        self._counter += 1
        return format_heartbeat(Heartbeat(self.publisher, self._counter, now_ms(), 1000, trees))

    def send(self, kind: str, body: bytes) -> None:
        """Send `body` under the topic of `kind`."""
        self.socket.send_multipart([self.topic(kind).encode(), body])

    def send_heartbeat(self, trees: dict[str, Head]) -> None:
        """Send an honest heartbeat."""
        self.send(HEARTBEAT, self.sealed(HEARTBEAT, self.heartbeat(trees)))

    def send_update(self, msg: dict[str, Any]) -> None:
        """Send `msg` as a properly signed announcement."""
        self.send(UPDATED, self.sealed(UPDATED, msg))
