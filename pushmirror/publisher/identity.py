"""Who speaks: the publisher's name and the beginning of its topics, and new messages in its name."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core import messages
from pushmirror.core.wire import compose


@dataclass(frozen=True)
class Identity:
    """A publisher as its messages name it. `new_uuid` makes the random part of their ids."""

    name: str
    topic_prefix: str
    environment: str
    new_uuid: Callable[[], uuid.UUID] = uuid.uuid4

    def topic(self, kind: str) -> str:
        """Return the topic of a message; `kind` is ``tree.heartbeat``, for example."""
        return messages.topic(self.topic_prefix, self.environment, kind)

    def new_msg_id(self, at_ms: int) -> str:
        """Return the id of a new message, in fedmsg's form: the year and a random UUID."""
        return f"{time.gmtime(at_ms // 1000).tm_year}-{self.new_uuid()}"

    def compose(self, kind: str, msg: Mapping[str, Any], *, at_ms: int, counter: int) -> bytes:
        """Return the bytes to be signed of a new message."""
        return compose(
            self.topic(kind),
            msg,
            msg_id=self.new_msg_id(at_ms),
            at_ms=at_ms,
            counter=counter,
            username=self.name,
        )
