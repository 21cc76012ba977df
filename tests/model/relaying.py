"""A mirror of the model as a relay: the real copies, herald and answers over its ledger."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pushmirror.core.model import Head
from pushmirror.http.answers import Answer, NoContent
from pushmirror.http.questions import Question, Refusal
from pushmirror.keys import PrivateKey
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.answers import RelayAnswers
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.relay.forwarding import Forwarding
from pushmirror.subscriber.relay.handing_on import HandingOn
from pushmirror.subscriber.relay.herald import Herald
from pushmirror.subscriber.relay.proofs import Origin, ShownProofs
from pushmirror.subscriber.relay.services import Services
from pushmirror.subscriber.relay.voice import Voice
from tests.model.tier1 import HEARTBEAT_MS, KEY, Bus, Frames
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE


def key_of(relay: str) -> PrivateKey:
    """Return what a relay signs with."""
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(sha256(relay.encode()).digest()))


class Relay:
    """Hands on what the mirror `name` has applied; `spread` is handed every message that is put on its bus.

    `services` are those that the mirror asks itself: what is shown to the relay goes there.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        ledger: Ledger,
        make_copies: type[Copies],
        clock_ms: Callable[[], int],
        steady_ms: Callable[[], int],
        services: Services,
        spread: Callable[[Frames], None],
    ) -> None:
        self.copies = make_copies(ledger, ledger.kept, {TREE: PUBLISHER}, ())
        voice = Voice(name, key_of(name), {PUBLISHER: (PREFIX, ENVIRONMENT)}, clock_ms)
        self._herald = Herald(
            reactor, copies=self.copies, kept=ledger.kept, voice=voice, sender=Bus(spread), heartbeat_ms=HEARTBEAT_MS,
            clock_ms=clock_ms,
        )  # fmt: skip
        forwarding = Forwarding(None, {}, self.copies.publishers, clock_ms)
        showing = HandingOn(services.show_header, "a header", clock_ms)
        origin = Origin(PREFIX, ENVIRONMENT, KeyRing(PUBLISHER, [KEY.public], ledger, clock_ms), showing.hand_on)
        proofs = ShownProofs(ledger, {PUBLISHER: origin}, self.copies.publishers, steady_ms)
        self._answers = RelayAnswers(self.copies, ledger.kept, voice, forwarding, proofs, ledger)
        self._kept = ledger.kept
        self.wake = self._herald.wake
        self.start = self._herald.startService

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        """Answer a question over HTTP."""
        return self._answers.answer(question, body)

    def leads(self, before: Head, head: Head) -> bool:
        """Tell whether it has the updates that lead on from `before` to the serial of `head`."""
        copy = self.copies.copy(TREE)
        if copy is None or copy.head.epoch != before.epoch or copy.head.applied.serial < head.serial:
            return False
        known = self._kept.beginning(TREE, copy.head.applied.serial) <= before.serial
        return known and self._kept.digest(TREE, before.serial) == before.digest
