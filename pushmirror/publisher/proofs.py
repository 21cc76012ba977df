"""Takes the proof that the journal is a copy from before: what this publisher has signed and does not hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from pushmirror.core.model import Head
from pushmirror.core.rate import TokenBucket
from pushmirror.core.testimony import check_address, read_testimony
from pushmirror.core.wire import open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.http.questions import Refusal
from pushmirror.keys import verify_envelope
from pushmirror.logs import Throttle
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.signing import Signers

_log = logging.getLogger(__name__)

SIGNATURES_PER_SECOND = 20.0
SIGNATURES_AT_ONCE = 100
"""Checking one takes a tenth of a millisecond, reading the list of one that is ours some milliseconds. One valid proof
is enough, however many mirrors have one. This is for all who show any; each has a share (`core.limits`)."""


class Proofs:
    """Takes what is shown: updates, states and heartbeats, which this publisher has signed.

    `renewed` is called when one of them gave the journal a new epoch.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        keys: Signers,
        identity: Identity,
        clock_ms: Callable[[], int],
        renewed: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._keys = keys
        self._identity = identity
        self._clock_ms = clock_ms
        self._renewed = renewed
        self._signatures = TokenBucket(SIGNATURES_PER_SECOND, SIGNATURES_AT_ONCE, clock_ms() / 1000)
        self._throttle = Throttle(clock_ms)

    def take(self, body: bytes) -> Refusal | None:
        """Hold a header against the journal, which gets a new epoch if it is a proof. Returns why it is refused.

        A header that proves nothing is taken as well: it may have been a proof a moment ago. Raises StateError when
        the journal fails.
        """
        try:
            envelope = open_envelope(body)
            check_address(envelope, self._identity.name, self._identity.topic_prefix, self._identity.environment)
            if not self._signatures.take(self._clock_ms() / 1000):
                return Refusal(429, "too many headers are being shown; try again in a second", wait_s=1)
            verify_envelope(envelope, [key.public for key in self._keys.valid()])
            heads = read_testimony(envelope).heads
        except MalformedMessage as error:
            return self._refuse(error)
        self._hold_against_journal(heads)
        return None

    def _hold_against_journal(self, heads: Mapping[str, Head]) -> None:
        """One that proves it is enough: after that the epoch of the others is over."""
        for tree, shown in heads.items():
            epoch = self._journal.take_proof(tree, shown) if shown.epoch == self._journal.epoch else None
            if epoch is not None:
                self._tell(tree, shown, epoch)
                return

    def _tell(self, tree: str, shown: Head, epoch: str) -> None:
        _log.error(
            "the journal is a copy from before: serial %d of %s in epoch %s was shown, signed by this publisher, and is"
            " not in it; epoch %s begins, and every subscriber makes a full sync of every tree",
            shown.serial,
            tree,
            shown.epoch,
            epoch,
        )
        self._renewed()

    def _refuse(self, error: MalformedMessage) -> Refusal:
        suppressed = self._throttle.allow(error.cause_name)
        if suppressed is not None:
            _log.warning("a header was refused: %s (%d more since the last line)", error, suppressed)
        return Refusal(403 if isinstance(error, BadSignature) else 400, str(error))
