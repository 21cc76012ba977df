"""Decides about each frame from one upstream's bus whether it is believed; only then its tracker hears of it.

The cheap checks come first: size, topic, form, whose and which tree, whether it is old. Then a token bucket, then the
signature, then the content. Whatever fails is counted by cause and logged once a minute per cause.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
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
from pushmirror.core.model import Heartbeat
from pushmirror.core.rate import TokenBucket
from pushmirror.core.rotation import ROTATED, Judgement
from pushmirror.core.tracking import Verdict
from pushmirror.core.wire import MAX_MESSAGE_BYTES, Envelope, digest, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage, StateError
from pushmirror.keys import PublicKey, verify_envelope
from pushmirror.logs import Throttle
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.silence import SilenceWatch
from pushmirror.subscriber.tracker import Tracker

log = logging.getLogger(__name__)

_SIGNATURES_PER_SECOND = 500.0
_SIGNATURES_AT_ONCE = 2000
ASK_AFTER_FLOOD_MS = 10_000
"""Who drops messages unchecked drops honest ones as well: so often the service is asked what they were."""
CAUSES = (
    *("signature", "path", "format", "topic", "tree", "publisher", "rate", "duplicate", "epoch", "stale"),
    *("leap", "rotation"),
)
KINDS = (UPDATED, HEARTBEAT, UPDATING, ROTATED)
"""What is listened for."""


class Dropped(Exception):
    """A frame is not for us, for the reason that is its text (one of `CAUSES`)."""


class Listener:
    """Receives the frames of the upstream `name`, whose `ring` has the keys that count and whose `trees` are followed.

    `steady_ms` is a clock that nobody can set, `pulse` what is known of the publisher being alive; `ask_for_keys` is
    called when something is signed with a key that does not count: it may be one that was exchanged.
    """

    def __init__(
        self,
        name: str,
        ring: KeyRing,
        prefix: str,
        environment: str,
        trees: frozenset[str],
        ledger: Ledger,
        tracker: Tracker,
        pulse: Pulse,
        steady_ms: Callable[[], int],
        random: Callable[[], float],
        ask_for_keys: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._ring = ring
        self._topics = {topic(prefix, environment, kind).encode(): kind for kind in KINDS}
        self._trees = trees
        self._ledger = ledger
        self._tracker = tracker
        self._pulse = pulse
        self._pulses_of_trees: dict[PublicKey, Pulse] = {}
        self._ask_for_keys = ask_for_keys
        self._steady_ms = steady_ms
        self._throttle = Throttle(steady_ms)
        self._bucket = TokenBucket(_SIGNATURES_PER_SECOND, _SIGNATURES_AT_ONCE, steady_ms() / 1000)
        self._flooded_ms: int | None = None
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
        elif kind == ROTATED:
            self._take_rotation(envelope)
        else:
            self._take_heartbeat(envelope)

    def _take_update(self, envelope: Envelope) -> None:
        tree = self._known_tree(envelope)
        head = self._ledger.head(tree)
        serial: Any = envelope.msg.get("serial")
        if head is not None and envelope.msg.get("epoch") == head.epoch and _is_old(serial, head.serial):
            raise Dropped("duplicate")
        self._verify(envelope, self._ring.of_tree(tree))
        update = parse_update(envelope.msg)
        heard = HeardUpdate(update, digest(envelope.signed), update.changes, envelope.travelling)
        verdict = self._tracker.take_update(heard)
        if verdict is Verdict.OLD_EPOCH:
            raise Dropped("epoch")
        if verdict is Verdict.TOO_FAR:
            raise Dropped("leap")

    def _take_updating(self, envelope: Envelope) -> None:
        tree = self._known_tree(envelope)
        self._verify(envelope, self._ring.of_tree(tree))
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
        key = self._verify(envelope, self._ring.every)
        heartbeat = parse_heartbeat(envelope.msg)
        now_ms = self._steady_ms()
        beat = self._pulse_of(key).take(heartbeat, now_ms)
        if beat is not Beat.STALE:
            self._tracker.take_heartbeat(self._about_trees_of(key, heartbeat), envelope.travelling)
        if beat is not Beat.FRESH:
            if self._pulse.may_ask(now_ms):
                self._tracker.ask_for_a_sign()
            raise Dropped("stale")

    def _pulse_of(self, key: PublicKey) -> Pulse:
        """Return the pulse that beats with `key`. One for some trees alone can neither make nor hide a sign of life."""
        if key in self._ring.of_publisher:
            return self._pulse
        return self._pulses_of_trees.setdefault(key, Pulse(self._steady_ms()))

    def _about_trees_of(self, key: PublicKey, heartbeat: Heartbeat) -> Heartbeat:
        """Return what `key` may say: nothing of trees for which it does not count."""
        trees = {name: head for name, head in heartbeat.trees.items() if key in self._ring.of_tree(name)}
        return replace(heartbeat, trees=trees)

    def _take_rotation(self, envelope: Envelope) -> None:
        self._spend()
        judgement = self._ring.take(envelope)
        if judgement is Judgement.KNOWN:
            raise Dropped("duplicate")
        if judgement is not Judgement.NEW:
            raise Dropped("rotation")

    def _verify(self, envelope: Envelope, keys: tuple[PublicKey, ...]) -> PublicKey:
        if any(envelope.certificate == key.line for key in keys):
            self._spend()  # whatever names another key is refused without a check
        try:
            return verify_envelope(envelope, keys)
        except BadSignature:
            if all(envelope.certificate != key.line for key in self._ring.every):
                self._ask_for_keys()
            raise

    def _spend(self) -> None:
        now_ms = self._steady_ms()
        if not self._bucket.take(now_ms / 1000):
            if self._flooded_ms is None or now_ms - self._flooded_ms >= ASK_AFTER_FLOOD_MS:
                self._flooded_ms = now_ms
                self._tracker.ask_about_all()
            raise Dropped("rate")


def _is_old(serial: object, heard: int) -> bool:
    return isinstance(serial, int) and serial <= heard
