"""A relay's own words: signed with the key of the node, under the topics of the publisher that they are about."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pushmirror.core.messages import topic
from pushmirror.core.wire import compose
from pushmirror.keys import PrivateKey, seal


@dataclass
class Voice:
    """Speaks as the node `relay`; `topics` are prefix and environment of each publisher."""

    relay: str
    key: PrivateKey
    topics: Mapping[str, tuple[str, str]]
    clock_ms: Callable[[], int]
    _counter: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        # The clock as the first number lets the counter go up over restarts too, without a note of it anywhere.
        self._counter = self.clock_ms()

    def next_counter(self) -> int:
        """Return a number above all that were told before."""
        self._counter += 1
        return self._counter

    def topic(self, publisher: str, kind: str) -> str:
        """Return the topic of a message about `publisher`."""
        return topic(*self.topics[publisher], kind)

    def seal(self, publisher: str, kind: str, msg: Mapping[str, Any]) -> bytes:
        """Return the signed message with the content `msg`."""
        signed = compose(
            self.topic(publisher, kind),
            msg,
            msg_id=str(uuid.uuid4()),
            at_ms=self.clock_ms(),
            counter=self.next_counter(),
            username=self.relay,
        )
        return seal(signed, self.key)
