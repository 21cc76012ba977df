"""Takes what nodes below a relay show of a publisher's word, and hands on upwards what may prove its journal a copy.

Nothing that anybody below can make up costs the publisher anything: only what it has signed itself is handed on, only
when this node knows nothing of it, and each such message once in a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pushmirror.core.forks import proves_fork
from pushmirror.core.model import Head
from pushmirror.core.rate import TokenBucket
from pushmirror.core.testimony import check_address, read_testimony
from pushmirror.core.wire import Envelope, digest, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.http.questions import Refusal
from pushmirror.keys import verify_envelope
from pushmirror.logs import Throttle
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger

log = logging.getLogger(__name__)

SIGNATURES_PER_SECOND = 20.0
SIGNATURES_AT_ONCE = 100
AGAIN_MS = 30_000
"""The same message is handed on again after so long: whoever was to look at it may have been away."""
_MAX_REMEMBERED = 1000
"""Above this nothing is handed on: no publisher has signed so much in so short a time that this node has not heard."""


@dataclass(frozen=True)
class Origin:
    """A publisher: under which topics it speaks, which keys count for it, and who hands on to it what is shown."""

    prefix: str
    environment: str
    ring: KeyRing
    hand_on: Callable[[bytes], None]


class ShownProofs:
    """Takes what is shown of `trees` (tree to publisher), and hands it on to the `origins` (by publisher)."""

    def __init__(
        self, ledger: Ledger, origins: Mapping[str, Origin], trees: Mapping[str, str], steady_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._origins = origins
        self._trees = trees
        self._steady_ms = steady_ms
        self._signatures = TokenBucket(SIGNATURES_PER_SECOND, SIGNATURES_AT_ONCE, steady_ms() / 1000)
        self._throttle = Throttle(steady_ms)
        self._handed_on_ms: dict[str, int] = {}

    def take(self, body: bytes) -> Refusal | None:
        """Hand on what a publisher has signed and this node has not heard. Returns why it is refused.

        What is known here is taken as well: whoever shows it cannot know. Raises StateError when the ledger fails.
        """
        try:
            envelope = open_envelope(body)
            origin = self._find_origin(envelope)
            if not self._signatures.take(self._steady_ms() / 1000):
                return Refusal(429, "too many headers are being shown; try again in a second", wait_s=1)
            key = verify_envelope(envelope, origin.ring.every)
            told = read_testimony(envelope).heads
        except MalformedMessage as error:
            return self._refuse(error)
        heads = {tree: head for tree, head in told.items() if key in origin.ring.of_tree(tree)}
        unknown = [tree for tree, shown in heads.items() if self._is_unknown(tree, envelope, shown)]
        if unknown and self._may_hand_on(digest(envelope.signed)):
            self._tell(unknown[0], heads[unknown[0]])
            origin.hand_on(envelope.travelling)
        return None

    def _find_origin(self, envelope: Envelope) -> Origin:
        publisher = envelope.msg.get("publisher")
        origin = self._origins.get(publisher) if isinstance(publisher, str) else None
        if publisher is None or origin is None:
            raise MalformedMessage("the message is of a publisher that is not relayed here")
        check_address(envelope, publisher, origin.prefix, origin.environment)
        return origin

    def _is_unknown(self, tree: str, envelope: Envelope, shown: Head) -> bool:
        if self._trees.get(tree) != envelope.msg["publisher"]:
            return False
        heard = self._ledger.head(tree)
        return heard is not None and proves_fork(shown, heard, self._kept_digest(tree, shown.serial))

    def _kept_digest(self, tree: str, serial: int) -> str | None:
        try:
            return self._ledger.kept.digest(tree, serial)
        except KeyError:
            return None

    def _may_hand_on(self, message: str) -> bool:
        now_ms = self._steady_ms()
        lasting = {each: at_ms for each, at_ms in self._handed_on_ms.items() if now_ms - at_ms < AGAIN_MS}
        self._handed_on_ms = lasting
        if message in lasting or len(lasting) >= _MAX_REMEMBERED:
            return False
        lasting[message] = now_ms
        return True

    def _tell(self, tree: str, shown: Head) -> None:
        if (suppressed := self._throttle.allow(tree)) is not None:
            log.warning(
                "tree %s: below it was heard of serial %d in epoch %s, signed by the publisher, which nobody has told"
                " here; its word is handed on upwards (%d more before)",
                tree, shown.serial, shown.epoch, suppressed,
            )  # fmt: skip

    def _refuse(self, error: MalformedMessage) -> Refusal:
        suppressed = self._throttle.allow(error.cause_name)
        if suppressed is not None:
            log.warning("a header from below was refused: %s (%d more since the last line)", error, suppressed)
        return Refusal(403 if isinstance(error, BadSignature) else 400, str(error))
