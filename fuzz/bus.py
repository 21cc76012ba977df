"""Frames on the bus of a subscriber that follows a tree: none that the publisher did not sign changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from fuzz.harness import Believed, make_folder
from fuzz.meaning import KINDS, examples
from fuzz.parties import (
    ENVIRONMENT,
    HEAD,
    NOW_MS,
    PINNED,
    PREFIX,
    PUBLISHER,
    TREE,
    compose_message,
    forge,
    sign_as_stranger,
)
from pushmirror.core.liveness import Pulse
from pushmirror.core.messages import topic
from pushmirror.core.model import Head, TreeState
from pushmirror.errors import ServiceError
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.listener import Listener
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.tracker import Tracker

_TOPICS = tuple(topic(PREFIX, ENVIRONMENT, kind).encode() for kind in KINDS)
_BETWEEN_FRAMES_MS = 10
"""So many signatures are checked that none of the frames is dropped for their number."""
_FOLDER = make_folder()


class _NoService:
    """A service that does not answer; `asked` counts the questions."""

    has_origin = True

    def __init__(self) -> None:
        self.asked = 0

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[HeardUpdate], None]) -> int:
        self.asked += 1
        raise ServiceError("there is no service")

    async def state(self, tree: str) -> TreeState:
        self.asked += 1
        raise ServiceError("there is no service")

    async def show_header(self, body: bytes) -> None:
        self.asked += 1

    def expects(self, tree: str, wanted: Head) -> bool:
        return True

    def has_more(self, tree: str, head: Head) -> bool:
        return True


class Follower:
    """A listener and what is behind it, which has heard of the head of the tree before."""

    def __init__(self, folder: Path) -> None:
        self._now_ms = NOW_MS
        self.service = _NoService()
        self.changed: list[str] = []
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.ledger.open_tree(TREE, "identity")
        self.ledger.start_over(TREE, HEAD, NOW_MS, NOW_MS, same_history=False)
        reactor: Any = Clock()
        self.tracker = Tracker(
            reactor, [TREE], self.ledger, self.service, self._read_ms, self._read_ms, self.changed.append
        )  # fmt: skip
        ring = KeyRing(PUBLISHER, [PINNED.public], self.ledger, self._read_ms, accept_rotation=True)
        self.listener = Listener(
            PUBLISHER, ring, PREFIX, ENVIRONMENT, frozenset([TREE]), self.ledger, self.tracker, Pulse(NOW_MS),
            self._read_ms, lambda: 0.5,
        )  # fmt: skip

    def _read_ms(self) -> int:
        self._now_ms += _BETWEEN_FRAMES_MS
        return self._now_ms

    def deliver(self, topic_frame: bytes, body: bytes) -> None:
        """Hand over a frame. Raises Believed when it was not dropped, or anything is otherwise than before."""
        dropped = sum(self.listener.dropped.values())
        self.listener.deliver(topic_frame, body)
        if sum(self.listener.dropped.values()) != dropped + 1:
            raise Believed("a frame was not dropped")
        if self.changed or self.service.asked or self.ledger.head(TREE) != HEAD or self.listener.heard_ago_ms:
            raise Believed("a frame had a consequence")


@cache
def follower() -> Follower:
    """Return the one that all frames are handed to."""
    return Follower(Path(_FOLDER.name))


def check(data: bytes) -> None:
    """Deliver `data` without its first byte, which chooses the topic."""
    number, body = data[0] if data else 0, data[1:]
    follower().deliver(_TOPICS[number % len(_TOPICS)], body)


def seeds() -> Iterable[bytes]:
    """Yield each kind of message in its topic: by a stranger, forged, unsigned, and one under another topic."""
    for kind, msg in examples():
        number = list(KINDS).index(kind).to_bytes(1, "big")
        yield number + sign_as_stranger(kind, msg)
        yield number + forge(kind, msg)
        yield number + compose_message(kind, msg)
    yield b"\1" + forge(*next(iter(examples())))
