"""Takes the proof that the journal is a copy from before: a header that this publisher has signed and does not hold."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pushmirror.core.messages import UPDATED, parse_update
from pushmirror.core.model import Head, Update
from pushmirror.core.rate import TokenBucket
from pushmirror.core.wire import Envelope, digest, open_envelope
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
is enough, however many mirrors have one."""


class Proofs:
    """Takes headers that are shown. `renewed` is called when one of them gave the journal a new epoch."""

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
            self._check_address(envelope)
            if not self._signatures.take(self._clock_ms() / 1000):
                return Refusal(429, "too many headers are being shown; try again in a few seconds")
            verify_envelope(envelope, [key.public for key in self._keys.valid()])
            update = parse_update(envelope.msg)
        except MalformedMessage as error:
            return self._refuse(error)
        shown = Head(update.epoch, update.serial, digest(envelope.signed))
        epoch = self._journal.take_proof(update.tree, shown)
        if epoch is not None:
            self._tell(update, epoch)
        return None

    def _check_address(self, envelope: Envelope) -> None:
        """Refuse what does not even say that it is ours. Its list is read after the signature: it may be a long one."""
        if envelope.topic != self._identity.topic(UPDATED):
            raise MalformedMessage("the topic is not that of an update of this publisher")
        if envelope.msg.get("publisher") != self._identity.name:
            raise MalformedMessage("the update is of another publisher")

    def _tell(self, update: Update, epoch: str) -> None:
        _log.error(
            "the journal is a copy from before: serial %d of %s in epoch %s was shown, signed by this publisher, and is"
            " not in it; epoch %s begins, and every subscriber makes a full sync of every tree",
            update.serial,
            update.tree,
            update.epoch,
            epoch,
        )
        self._renewed()

    def _refuse(self, error: MalformedMessage) -> Refusal:
        suppressed = self._throttle.allow(error.cause_name)
        if suppressed is not None:
            _log.warning("a header was refused: %s (%d more since the last line)", error, suppressed)
        return Refusal(403 if isinstance(error, BadSignature) else 400, str(error))
