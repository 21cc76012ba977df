"""What a relay's HTTP service answers: the origin's history and lists out of the ledger, and states of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pushmirror.core.model import RelayState
from pushmirror.core.relay_messages import RELAY_STATE, format_relay_state
from pushmirror.http.answers import ASK_AGAIN, FOR_EVER, JSON, LINES_OF_JSON, NEVER, Answer, NoContent
from pushmirror.http.questions import (
    HeaderQuestion,
    KeysQuestion,
    ListQuestion,
    Question,
    Refusal,
    ReportQuestion,
    StateQuestion,
    UpdatesQuestion,
)
from pushmirror.subscriber.ledger_trust import LedgerTrust
from pushmirror.subscriber.relay.copies import Copies, Copy
from pushmirror.subscriber.relay.forwarding import Forwarding
from pushmirror.subscriber.relay.kept import KeptUpdates
from pushmirror.subscriber.relay.proofs import ShownProofs
from pushmirror.subscriber.relay.voice import Voice


@dataclass
class RelayAnswers:
    """Answers questions about the trees that are relayed. Raises StateError when the ledger fails."""

    copies: Copies
    kept: KeptUpdates
    voice: Voice
    forwarding: Forwarding
    proofs: ShownProofs
    ledger: LedgerTrust

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        """Return the answer to a question; `body` is what was sent with it."""
        if isinstance(question, ReportQuestion):
            return self.forwarding.take(body) or NoContent()
        if isinstance(question, HeaderQuestion):
            return self.proofs.take(body) or NoContent()
        if isinstance(question, KeysQuestion):
            return self._answer_keys(question)
        if question.tree not in self.copies.publishers:
            return Refusal(404, "no such tree is relayed here")
        copy = self.copies.copy(question.tree)
        if copy is None:
            return Refusal(503, f"this tree is not relayed now: {self.copies.refusal(question.tree)}")
        if isinstance(question, UpdatesQuestion):
            return self._answer_updates(question, copy)
        if isinstance(question, ListQuestion):
            return self._answer_list(question, copy)
        return self._answer_state(question, copy)

    def _answer_keys(self, question: KeysQuestion) -> Answer | Refusal:
        if question.publisher not in self.copies.publishers.values():
            return Refusal(404, "no tree of this publisher is relayed here")
        lines = [learned.envelope + b"\n" for learned in self.ledger.rotations(question.publisher)]
        return Answer(LINES_OF_JSON, ASK_AGAIN, iter(lines))

    def _answer_updates(self, question: UpdatesQuestion, copy: Copy) -> Answer | Refusal:
        applied = copy.head.applied.serial
        oldest = copy.oldest or applied + 1
        if question.epoch != copy.head.epoch or question.after + 1 < oldest:
            return Refusal(410, f"these updates are not kept; ask for /v1/trees/{question.tree}?nonce=... instead")
        return Answer(LINES_OF_JSON, ASK_AGAIN, self._lines(question, applied))

    def _lines(self, question: UpdatesQuestion, applied: int) -> Iterator[bytes]:
        for kept in self.kept.updates(question.tree, question.after, applied, question.limit):
            yield b'{"update":' + kept.envelope + b',"list":'
            if kept.list_digest is None:
                yield b"null}\n"
            else:
                yield from self.kept.list_parts(question.tree, kept.list_digest)
                yield b"}\n"

    def _answer_list(self, question: ListQuestion, copy: Copy) -> Answer | Refusal:
        if not self.kept.has_list(question.tree, question.digest, copy.head.applied.serial):
            return Refusal(404, "no update of this tree that is relayed has that list")
        parts = self.kept.list_parts(question.tree, question.digest)
        return Answer(JSON, FOR_EVER, parts, self.kept.list_bytes(question.tree, question.digest))

    def _answer_state(self, question: StateQuestion, copy: Copy) -> Answer:
        state = RelayState(
            publisher=self.copies.publishers[question.tree],
            relay=self.voice.relay,
            tree=question.tree,
            head=copy.head,
            cleaned_digest=copy.cleaned_digest,
            oldest=copy.oldest,
            nonce=question.nonce,
            testimony=self.copies.testimony(question.tree),
        )
        body = self.voice.seal(state.publisher, RELAY_STATE, format_relay_state(state))
        return Answer(JSON, NEVER, iter((body,)), len(body))
