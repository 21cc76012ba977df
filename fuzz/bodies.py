"""What is posted to a publisher: reports and headers that its nodes and itself did not sign change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fuzz.harness import Believed, make_folder
from fuzz.meaning import REPORTS, examples
from fuzz.parties import (
    CHANGES,
    ENVIRONMENT,
    NODE,
    NOW_MS,
    PINNED,
    PREFIX,
    PUBLISHER,
    STRANGER,
    TREE,
    forge,
    sign_as_stranger,
)
from pushmirror.bus.memory import MemoryBus
from pushmirror.core.admission import Authorization, compose_request, format_authorization, make_nonce
from pushmirror.core.messages import UPDATED
from pushmirror.http.questions import HeaderQuestion, Refusal, ReportQuestion
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.journal_rows import SentUpdate
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import SingleKey

_FOLDER = make_folder()


class Publisher:
    """What answers behind the service of a publisher that has sent one update; all parts are real but the bus."""

    def __init__(self, folder: Path) -> None:
        self._now_ms = NOW_MS
        identity = Identity(PUBLISHER, PREFIX, ENVIRONMENT)
        self.journal = Journal(folder / "journal.sqlite", clock_ms=lambda: NOW_MS)
        self.journal.announce(Announcement(identity, TREE, CHANGES))
        sent = [SentUpdate(row.position, PINNED.sign(row.signed), PINNED.public.line) for row in self.journal.unsent(1)]
        self.journal.mark_sent(sent, sent_ms=NOW_MS)
        listed = folder / "authorized_nodes"
        listed.write_text(f"{PINNED.public.line} {NODE}\n")
        self.nodes = AuthorizedNodes(listed)
        self.bus = MemoryBus()
        self.reports = Reports(
            nodes=self.nodes, identity=identity, trees=(TREE,), sender=self.bus.sender(),
            clock_ms=self._read_ms,
        )  # fmt: skip
        self.renewed, keys = 0, SingleKey(PINNED)
        proofs = Proofs(
            journal=self.journal, keys=keys, identity=identity, clock_ms=self._read_ms, renewed=self._count
        )  # fmt: skip
        self.answers = Answers(self.journal, keys, identity, (TREE,), self.reports, proofs, self._read_ms)
        self.epoch = self.journal.head(TREE).epoch

    def _count(self) -> None:
        self.renewed += 1

    def _read_ms(self) -> int:
        self._now_ms += 100
        return self._now_ms

    @staticmethod
    def challenge() -> str:
        """Return what a stranger shows to a private service in the name of a listed node."""
        nonce = make_nonce(bytes(32), 0)
        signature = STRANGER.sign(compose_request(PUBLISHER, NODE, nonce, b"GET", b"/", b""))
        return format_authorization(Authorization(NODE, nonce, signature))

    def expect_nothing(self) -> None:
        """Raise Believed when anything was taken, sent or renewed."""
        if self.reports.accepted or self.reports.last or self.bus.pump() or self.renewed:
            raise Believed("what a stranger has posted had a consequence")


@cache
def publisher() -> Publisher:
    """Return the one that is asked everything."""
    return Publisher(Path(_FOLDER.name))


def check(data: bytes) -> None:
    """Post `data` without its first byte, which says whether it is a report or a header."""
    question = HeaderQuestion() if data[:1] == b"h" else ReportQuestion()
    answer = publisher().answers.answer(question, data[1:])
    if not isinstance(answer, Refusal):
        raise Believed("what a stranger has posted was taken")
    assert answer.status in (400, 403, 429) and answer.text.isprintable(), answer
    publisher().expect_nothing()


def seeds() -> Iterable[bytes]:
    """Yield each report and each announcement, signed by a stranger and forged."""
    for kind, msg in examples():
        if kind in REPORTS or kind == UPDATED:
            place = b"r" if kind in REPORTS else b"h"
            yield place + sign_as_stranger(kind, msg)
            yield place + forge(kind, msg)
