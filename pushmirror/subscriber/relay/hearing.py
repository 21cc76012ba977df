"""Listens to one relay: hands on the origin's updates to whoever checks them, and believes what it says of itself."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pushmirror.core.liveness import Beat, Pulse
from pushmirror.core.messages import UPDATED, topic
from pushmirror.core.model import Heartbeat, RelayHead, RelayHeartbeat
from pushmirror.core.rate import TokenBucket
from pushmirror.core.relay_messages import RELAY_HEARTBEAT, parse_relay_heartbeat
from pushmirror.core.wire import MAX_MESSAGE_BYTES, open_envelope
from pushmirror.errors import MalformedMessage, StateError
from pushmirror.keys import PublicKey, verify_envelope
from pushmirror.logs import Throttle

log = logging.getLogger(__name__)

_HEARTBEATS_PER_SECOND = 20.0
_HEARTBEATS_AT_ONCE = 100
_UPDATES_PER_SECOND = 100.0
_UPDATES_AT_ONCE = 1000
"""Whoever checks updates does so for the publisher and all of its relays: none of them may take all of its time."""
CAUSES = ("signature", "format", "topic", "publisher", "rate", "stale")


class RelayListener:
    """Receives the frames of the relay `name` of `publisher`, which signs with one of `keys`.

    `take_update` gets the frames of updates, which others verify; `take_heads` is called after each believed heartbeat
    with when it was made; `ask` when its clock is in doubt. `pulse` is what is known of the relay being alive.
    """

    def __init__(
        self,
        name: str,
        publisher: str,
        keys: Sequence[PublicKey],
        prefix: str,
        environment: str,
        pulse: Pulse,
        steady_ms: Callable[[], int],
        take_update: Callable[[bytes, bytes], None],
        take_heads: Callable[[str, Mapping[str, RelayHead], int], None],
        ask: Callable[[], None],
    ) -> None:
        self._name = name
        self._publisher = publisher
        self._keys = tuple(keys)
        self._updates_topic = topic(prefix, environment, UPDATED).encode()
        self._heartbeat_topic = topic(prefix, environment, RELAY_HEARTBEAT).encode()
        self._pulse = pulse
        self._steady_ms = steady_ms
        self._take_update = take_update
        self._take_heads = take_heads
        self._ask = ask
        self._throttle = Throttle(steady_ms)
        self._bucket = TokenBucket(_HEARTBEATS_PER_SECOND, _HEARTBEATS_AT_ONCE, steady_ms() / 1000)
        self._updates_bucket = TokenBucket(_UPDATES_PER_SECOND, _UPDATES_AT_ONCE, steady_ms() / 1000)
        self.heads: Mapping[str, RelayHead] = {}
        self.dropped: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))

    @property
    def topics(self) -> list[bytes]:
        """What is to be subscribed to."""
        return [self._updates_topic, self._heartbeat_topic]

    def deliver(self, topic_frame: bytes, body: bytes) -> None:
        """Take one message from the bus of the relay. Raises nothing."""
        try:
            if topic_frame == self._updates_topic:
                self._hand_on(topic_frame, body)
            else:
                self._take_heartbeat(topic_frame, body)
        except MalformedMessage as error:
            self._drop(error.cause_name, str(error))
        except StateError as error:
            self._complain(error)

    def _complain(self, error: StateError) -> None:
        """Tell that a heartbeat came to nothing here; the next one says the same."""
        suppressed = self._throttle.allow("state")
        if suppressed is not None:
            log.error(
                "relay %s of %s: a heartbeat was lost here: %s (%d more before)",
                self._name, self._publisher, error, suppressed,
            )  # fmt: skip

    def _hand_on(self, topic_frame: bytes, body: bytes) -> None:
        if not self._updates_bucket.take(self._steady_ms() / 1000):
            raise _unwanted("rate")  # the next heartbeat tells of what was missed
        self._take_update(topic_frame, body)

    def _take_heartbeat(self, topic_frame: bytes, body: bytes) -> None:
        if topic_frame != self._heartbeat_topic:
            raise _unwanted("topic")
        envelope = open_envelope(body, max_bytes=MAX_MESSAGE_BYTES)
        if envelope.topic.encode("utf-8", "replace") != topic_frame:
            raise _unwanted("topic")
        if (envelope.msg.get("publisher"), envelope.msg.get("relay")) != (self._publisher, self._name):
            raise _unwanted("publisher")
        if not self._bucket.take(self._steady_ms() / 1000):
            raise _unwanted("rate")
        verify_envelope(envelope, self._keys)
        self._believe(parse_relay_heartbeat(envelope.msg))

    def _believe(self, heartbeat: RelayHeartbeat) -> None:
        now_ms = self._steady_ms()
        beat = self._pulse.take(_as_heartbeat(heartbeat), now_ms)
        if beat is not Beat.STALE:
            self.heads = heartbeat.trees
            self._take_heads(self._name, heartbeat.trees, heartbeat.at_ms)
        if beat is not Beat.FRESH:
            if self._pulse.may_ask(now_ms):
                self._ask()
            raise _unwanted("stale")

    def _drop(self, cause: str, detail: str) -> None:
        self.dropped[cause] += 1
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            log.warning(
                "relay %s of %s: dropped a message (%s): %s (%d more since the last line)",
                self._name, self._publisher, cause, detail, suppressed,
            )  # fmt: skip


def _as_heartbeat(heartbeat: RelayHeartbeat) -> Heartbeat:
    """Return what a heart has to do with: by whom it is, when it beat, and how often it does."""
    return Heartbeat(heartbeat.publisher, heartbeat.counter, heartbeat.at_ms, heartbeat.interval_ms, {})


def _unwanted(cause_name: str) -> MalformedMessage:
    error = MalformedMessage("it is not what is listened for")
    error.cause_name = cause_name
    return error
