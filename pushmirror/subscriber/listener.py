"""Decides about each frame from one upstream's bus whether it is believed; only then its tracker hears of it.

The cheap checks come first: size, topic, form, whose and which tree, whether it is old. Then a token bucket, then the
signature, then the content. Whatever fails is counted by cause and logged once a minute per cause.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pushmirror.core.liveness import SILENT_INTERVALS, Beat, Pulse
from pushmirror.core.messages import (
    HEARTBEAT,
    UPDATED,
    UPDATING,
    kind_of,
    parse_heartbeat,
    parse_update,
    parse_updating,
    topic,
)
from pushmirror.core.rate import TokenBucket
from pushmirror.core.tracking import Verdict
from pushmirror.core.wire import MAX_MESSAGE_BYTES, Envelope, digest, open_envelope
from pushmirror.errors import MalformedMessage, StateError
from pushmirror.keys import PublicKey, verify_envelope
from pushmirror.logs import Throttle
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.silence import SilenceWatch
from pushmirror.subscriber.tracker import Tracker

log = logging.getLogger(__name__)

_SIGNATURES_PER_SECOND = 500.0
_SIGNATURES_AT_ONCE = 2000
CAUSES = ("signature", "path", "format", "topic", "tree", "publisher", "rate", "duplicate", "epoch", "stale")


class Dropped(Exception):
    """A frame is not for us, for the reason that is its text (one of `CAUSES`)."""


class Listener:
    """Receives the frames of the upstream `name`, whose `keys` are pinned and whose `trees` are followed.

    `steady_ms` is a clock that nobody can set, `pulse` what is known of the publisher being alive.
    """

    def __init__(
        self,
        name: str,
        keys: Sequence[PublicKey],
        prefix: str,
        environment: str,
        trees: frozenset[str],
        ledger: Ledger,
        tracker: Tracker,
        pulse: Pulse,
        steady_ms: Callable[[], int],
        random: Callable[[], float],
    ) -> None:
        self._name = name
        self._keys = tuple(keys)
        self._topics = {topic(prefix, environment, kind).encode(): kind for kind in (UPDATED, HEARTBEAT, UPDATING)}
        self._trees = trees
        self._ledger = ledger
        self._tracker = tracker
        self._pulse = pulse
        self._steady_ms = steady_ms
        self._throttle = Throttle(steady_ms)
        self._bucket = TokenBucket(_SIGNATURES_PER_SECOND, _SIGNATURES_AT_ONCE, steady_ms() / 1000)
        self._silence = SilenceWatch(f"upstream {name}", pulse, steady_ms, random)
        self.dropped: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))

    @property
    def state(self) -> str:
        """``connecting``, ``connected``, or ``silent`` after three heartbeats did not come, from the start or since."""
        return self._pulse.state(self._steady_ms())

    @property
    def heard_ago_ms(self) -> int | None:
        """How long ago the last fresh heartbeat came; None before the first."""
        return self._pulse.heard_ago_ms(self._steady_ms())

    def watch_silence(self) -> bool:
        """Log when the upstream falls silent and when it is heard again, once each. To be called every second or so.

        Returns True when the upstream should be tried by other ways: soon after it fell silent, and now and then while
        it is.
        """
        return self._silence.watch()

    def deliver(self, topic_frame: bytes, body: bytes) -> None:
        """Take one message from the bus. Raises nothing."""
        try:
            self._take(topic_frame, body)
        except Dropped as cause:
            self._drop(str(cause), "")
        except MalformedMessage as error:
            self._drop(error.cause_name, str(error))
        except StateError as error:
            self._complain(error)

    def _complain(self, error: StateError) -> None:
        """Tell that a message could not be recorded; the next heartbeat shows that it is missing."""
        suppressed = self._throttle.allow("state")
        if suppressed is not None:
            log.error("upstream %s: a message was lost here: %s (%d more before)", self._name, error, suppressed)

    def _drop(self, cause: str, detail: str) -> None:
        self.dropped[cause] += 1
        suppressed = self._throttle.allow(cause)
        if suppressed is not None and cause not in ("duplicate", "tree"):
            log.warning(
                "upstream %s: dropped a message (%s)%s%s", self._name, cause, f": {detail}" if detail else "",
                f", and {suppressed} more of this cause" if suppressed else "",
            )  # fmt: skip

    def _take(self, topic_frame: bytes, body: bytes) -> None:
        kind = self._topics.get(topic_frame)
        if kind is None:
            raise Dropped("topic")
        envelope = open_envelope(body, max_bytes=MAX_MESSAGE_BYTES)
        if envelope.topic.encode("utf-8", "replace") != topic_frame or kind_of(envelope.topic) != kind:
            raise Dropped("topic")
        if envelope.msg.get("publisher") != self._name:
            raise Dropped("publisher")
        if kind == UPDATED:
            self._take_update(envelope)
        elif kind == UPDATING:
            self._take_updating(envelope)
        else:
            self._take_heartbeat(envelope)

    def _take_update(self, envelope: Envelope) -> None:
        tree = self._known_tree(envelope)
        head = self._ledger.head(tree)
        serial: Any = envelope.msg.get("serial")
        if head is not None and envelope.msg.get("epoch") == head.epoch and _is_old(serial, head.serial):
            raise Dropped("duplicate")
        self._verify(envelope)
        update = parse_update(envelope.msg)
        heard = HeardUpdate(update, digest(envelope.signed), update.changes, envelope.travelling)
        if self._tracker.take_update(heard) is Verdict.OLD_EPOCH:
            raise Dropped("epoch")

    def _take_updating(self, envelope: Envelope) -> None:
        self._known_tree(envelope)
        self._verify(envelope)
        updating = parse_updating(envelope.msg)
        # A recorded one that is sent again must not hold up jobs; how old it is tells the publisher's own clock.
        oldest_ms = self._pulse.newest_ms - SILENT_INTERVALS * self._pulse.interval_ms
        if updating.at_ms < oldest_ms or not self._tracker.take_updating(updating):
            raise Dropped("stale")

    def _known_tree(self, envelope: Envelope) -> str:
        tree = envelope.msg.get("tree")
        if not isinstance(tree, str) or tree not in self._trees:
            raise Dropped("tree")
        return tree

    def _take_heartbeat(self, envelope: Envelope) -> None:
        self._verify(envelope)
        heartbeat = parse_heartbeat(envelope.msg)
        now_ms = self._steady_ms()
        beat = self._pulse.take(heartbeat, now_ms)
        if beat is not Beat.STALE:
            self._tracker.take_heartbeat(heartbeat, envelope.travelling)
        if beat is not Beat.FRESH:
            if self._pulse.may_ask(now_ms):
                self._tracker.ask_for_a_sign()
            raise Dropped("stale")

    def _verify(self, envelope: Envelope) -> None:
        if not self._bucket.take(self._steady_ms() / 1000):
            raise Dropped("rate")
        verify_envelope(envelope, self._keys)


def _is_old(serial: object, heard: int) -> bool:
    return isinstance(serial, int) and serial <= heard
