"""What the HTTP service answers: history and lists out of the journal, the signed state of a tree; reports and headers
are taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from pushmirror.core.messages import STATE, format_state
from pushmirror.core.model import TreeState
from pushmirror.core.wire import attach
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
from pushmirror.keys import PrivateKey, seal
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import UpdateRow
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import Signers


@dataclass
class Answers:
    """Answers questions about the trees that are published here. Raises StateError when the journal fails."""

    journal: Journal
    keys: Signers
    identity: Identity
    trees: Collection[str]
    reports: Reports
    proofs: Proofs
    clock_ms: Callable[[], int]
    _states: int = field(default=0, init=False)

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        """Return the answer to a question; `body` is what was sent with it."""
        if isinstance(question, ReportQuestion):
            return self.reports.take(body) or NoContent()
        if isinstance(question, HeaderQuestion):
            return self.proofs.take(body) or NoContent()
        if isinstance(question, KeysQuestion):
            return self._answer_keys(question)
        if question.tree not in self.trees:
            return Refusal(404, "no such tree is published here")
        if isinstance(question, UpdatesQuestion):
            return self._answer_updates(question)
        if isinstance(question, ListQuestion):
            return self._answer_list(question)
        return self._answer_state(question)

    def _answer_updates(self, question: UpdatesQuestion) -> Answer | Refusal:
        if not self.journal.keeps(question.tree, question.epoch, question.after):
            return Refusal(410, f"these updates are not kept; ask for /v1/trees/{question.tree}?nonce=... instead")
        rows = self.journal.updates_after(question.tree, question.after, question.limit)
        return Answer(LINES_OF_JSON, ASK_AGAIN, self._lines(rows, self.keys.choose(question.keys)))

    def _lines(self, rows: Iterator[UpdateRow], key: PrivateKey) -> Iterator[bytes]:
        for row in rows:
            yield b'{"update":' + _sign_anew(row, key) + b',"list":'
            if row.list_digest is None or row.inline:
                yield b"null}\n"
            else:
                yield from self.journal.list_parts(row.list_digest)
                yield b"}\n"

    def _answer_list(self, question: ListQuestion) -> Answer | Refusal:
        if not self.journal.has_list(question.tree, question.digest):
            return Refusal(404, "no update of this tree has that list")
        parts = self.journal.list_parts(question.digest)
        return Answer(JSON, FOR_EVER, parts, self.journal.list_bytes(question.digest))

    def _answer_state(self, question: StateQuestion) -> Answer:
        self._states += 1
        state = TreeState(
            publisher=self.identity.name,
            tree=question.tree,
            head=self.journal.head(question.tree),
            oldest=self.journal.oldest(question.tree),
            nonce=question.nonce,
        )
        signed = self.identity.compose(STATE, format_state(state), at_ms=self.clock_ms(), counter=self._states)
        body = seal(signed, self.keys.choose(question.keys))
        return Answer(JSON, NEVER, iter((body,)), len(body))

    def _answer_keys(self, question: KeysQuestion) -> Answer | Refusal:
        if question.publisher != self.identity.name:
            return Refusal(404, "this is another publisher")
        return Answer(LINES_OF_JSON, ASK_AGAIN, (envelope + b"\n" for envelope in self.keys.rotations()))


def _sign_anew(row: UpdateRow, key: PrivateKey) -> bytes:
    """Return an update as it travels, signed with `key`: who was away while keys were exchanged knows no other."""
    if row.certificate == key.public.line:
        return row.envelope()
    return attach(row.signed, key.sign(row.signed), key.public.line)
