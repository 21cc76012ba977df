"""The Tier 1 of the model: a tree in memory, the real journal in a file, the real announcer and answers over it."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pushmirror.core.model import Head
from pushmirror.core.paths import TreePath
from pushmirror.core.retention import Retention
from pushmirror.http.answers import Answer, NoContent
from pushmirror.http.questions import Question, Refusal
from pushmirror.keys import PrivateKey
from pushmirror.nodes import AuthorizedNodes
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.announcer import Announcer
from pushmirror.publisher.answers import Answers
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import Journal
from pushmirror.publisher.proofs import Proofs
from pushmirror.publisher.recovery import recover
from pushmirror.publisher.reports import Reports
from pushmirror.publisher.signing import SingleKey
from tests.core.tree_model import Entry, Style, Tree, announce, place, remove
from tests.model.clocks import ModelReactor, Time
from tests.subscriber.upstream import ENVIRONMENT, PREFIX, PUBLISHER, TREE

KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
HEARTBEAT_MS = 30_000

Frames = tuple[bytes, bytes]


class Killed(BaseException):
    """The process ends here; nothing in it may catch this."""


class _Journal(Journal):
    """The journal as one process has it open, which may be killed after it has sent and before it has noted that."""

    dies_before_noting = False

    def mark_sent(self, sent: object, *, sent_ms: int) -> None:
        if self.dies_before_noting:
            raise Killed
        super().mark_sent(sent, sent_ms=sent_ms)  # type: ignore[arg-type]  # it is handed on as it came


@dataclass
class Bus:
    """The sending end of the bus."""

    spread: Callable[[Frames], None]

    def send(self, topic: bytes, body: bytes) -> None:
        self.spread((topic, body))

    def close(self) -> None:
        """There is nothing to give back."""


@dataclass(frozen=True)
class Told:
    """What an update was announced over: the tree as it was then, as the `number`-th announcement of all."""

    number: int
    tree: Tree


class Tier1:
    """`tree` is what its rsync daemon hands out; `told` is what it was when it was announced last.

    `spread` is handed every message that is put on the bus.
    """

    def __init__(self, folder: Path, time: Time, spread: Callable[[Frames], None]) -> None:
        self._folder = folder
        self.clock_ms = time.wall()
        self._bus = Bus(spread)
        self._numbers = itertools.count(1)
        self._identity = Identity(PUBLISHER, PREFIX, ENVIRONMENT, lambda: uuid.UUID(int=next(self._numbers)))
        (folder / "nodes").touch()
        # An upstream with nothing at all is taken for one whose disk is not mounted, so that there is always something.
        self.tree: Tree = {TreePath(b"README"): Entry("file", 0)}
        self.told: Tree = {}
        self.passing: set[TreePath] = set()
        """What was there at any time since it was announced last: a full sync may have brought it."""
        self.announcements = 0
        self.histories: dict[tuple[str, int, str | None], Told] = {}
        """What was announced by epoch, serial and digest, in whatever journal."""
        self.died_at: dict[TreePath, int] = {}
        """For a path that went away after how many announcements it did."""
        self.lost_announcements = False
        """A journal was restored that does not hold all that was announced, and perhaps nobody heard of it."""
        self.unsaid: set[TreePath] = set()
        """What these announcements were about: whoever has not heard them follows a history without them."""
        self.copies: list[Path] = []
        self.running = False
        self._install(clock_ms=self.clock_ms)
        self.start()

    # --- the tree

    def put(self, path: TreePath, kind: str, value: int) -> None:
        """Change the tree at `path`; what is in its way goes."""
        before = dict(self.tree)
        place(self.tree, path, Entry(kind, value))
        self._note_deaths(before)

    def delete(self, path: TreePath) -> None:
        """Take a path away, with what is below it."""
        before = dict(self.tree)
        remove(self.tree, path)
        self._note_deaths(before)

    def _note_deaths(self, before: Tree) -> None:
        self.passing.update(before)
        self.died_at.update(dict.fromkeys(before.keys() - self.tree.keys(), self.announcements))

    # --- the journal

    def _install(self, clock_ms: Callable[[], int]) -> None:
        """Begin anew in an empty folder, with a clock that may be wrong at that moment."""
        folder = self._folder / f"state{next(self._numbers)}"
        folder.mkdir()
        self.path = folder / "journal.sqlite"
        Journal(self.path, clock_ms=clock_ms, random_bytes=self._random_bytes).close()

    def _random_bytes(self, count: int) -> bytes:
        return next(self._numbers).to_bytes(count, "big")

    def _remember(self, head: Head) -> None:
        self.announcements += 1
        self.passing.clear()
        self.told = dict(self.tree)
        self.histories[head.epoch, head.serial, head.digest] = Told(self.announcements, self.told)

    def _begin_epoch(self) -> None:
        """Remember that the journal has an epoch: its serial 0 stands for all that there is now."""
        if (self.journal.epoch, 0, None) not in self.histories:
            self._remember(Head(self.journal.epoch, 0, None))

    def announce(self, style: Style, *, whole: bool = False) -> None:
        """Announce what has changed since the last announcement, as ``pushmirror publish`` does; wake the daemon."""
        passed = {path: Entry("file", -1) for path in self.passing - self.tree.keys()}
        changes = None if whole else announce({**passed, **self.told}, self.tree, style)
        self.journal.announce(Announcement(self._identity, TREE, changes))
        self._remember(self.journal.announced_head(TREE))
        if self.running:
            self._announcer.wake()

    @property
    def has_news(self) -> bool:
        """Whether something has changed that was not announced."""
        return self.tree != self.told

    def holds(self, head: Head) -> bool:
        """Tell whether `head` is part of the history that the journal goes on with."""
        return head.epoch == self.journal.epoch and self.digest_of(head.serial) == head.digest

    def digest_of(self, serial: int) -> str | None:
        """Return the digest of an update of the journal; None for serial 0 and for what it does not hold."""
        query = "SELECT digest FROM updates WHERE tree = ? AND serial = ? AND epoch = (SELECT max(number) FROM epochs)"
        row = self._journal_file.execute(query, (TREE, serial)).fetchone()
        return None if row is None else str(row[0])

    def keeps_after(self, head: Head) -> bool:
        """Tell whether the updates after `head` can be handed out."""
        return self.journal.keeps(TREE, head.epoch, head.serial)

    def prune(self) -> None:
        """Keep no more of the history than has to be kept."""
        while self.journal.prune(Retention(age_ms=-1, size_bytes=0)):
            pass

    # --- the daemon

    def start(self) -> None:
        """Start the daemon: what was not noted as sent is sent, and a heartbeat at once."""
        self.reactor = ModelReactor()
        recover(self.path, clock_ms=self.clock_ms, random_bytes=self._random_bytes)
        self._open_journal()
        self._announcer = Announcer(
            self.reactor, journal=self.journal, keys=SingleKey(KEY), sender=self._bus, identity=self._identity,
            trees=[TREE], heartbeat_ms=HEARTBEAT_MS, clock_ms=self.clock_ms,
        )  # fmt: skip
        reports = Reports(
            nodes=AuthorizedNodes(self._folder / "nodes"), identity=self._identity, trees=[TREE], sender=self._bus,
            clock_ms=self.clock_ms,
        )  # fmt: skip
        proofs = Proofs(
            journal=self.journal, keys=SingleKey(KEY), identity=self._identity, clock_ms=self.clock_ms,
            renewed=self._renew,
        )  # fmt: skip
        self._answers = Answers(self.journal, SingleKey(KEY), self._identity, [TREE], reports, proofs, self.clock_ms)
        self._announcer.startService()
        self.running = True

    def _open_journal(self) -> None:
        self._close_journal()
        self.journal = _Journal(self.path, clock_ms=self.clock_ms, random_bytes=self._random_bytes)
        self._journal_file = sqlite3.connect(self.path, isolation_level=None)
        self._begin_epoch()

    def _close_journal(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self._journal_file.close()

    def _renew(self) -> None:
        self._begin_epoch()
        self._announcer.beat()

    def kill(self) -> None:
        """End the daemon; the journal can still be announced to."""
        if self.running:
            self._announcer.stopService()
            self.reactor = ModelReactor()
        self.running = False

    def kill_while_sending(self) -> None:
        """Send what is unsent, and be killed before that is noted."""
        self.journal.dies_before_noting = True
        try:
            self._announcer.wake()
        except Killed:
            pass
        finally:
            self.journal.dies_before_noting = False
        self.kill()

    def answer(self, question: Question, body: bytes) -> Answer | NoContent | Refusal:
        """Answer a question over HTTP."""
        return self._answers.answer(question, body)

    # --- disasters

    def back_up(self) -> None:
        """Keep a copy of the journal as it is now."""
        copy = self._folder / f"copy{len(self.copies)}.sqlite"
        with sqlite3.connect(self.path) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        self.copies.append(copy)

    def restore(self, copy: Path) -> None:
        """Go on with a copy of the journal."""
        self.kill()
        self._close_journal()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()
        shutil.copyfile(copy, self.path)
        self.lost_announcements = True
        self.start()
        head = self.journal.announced_head(TREE)
        told = self.histories[head.epoch, head.serial, head.digest]
        then, now = told.tree, self.told
        self.unsaid.update(path for path in then | now if then.get(path) != now.get(path))
        # What came and went since may have been fetched by whoever looked in between.
        self.unsaid.update(path for path, number in self.died_at.items() if number >= told.number)

    def reinstall(self, *, clock_off_ms: int) -> None:
        """Go on with an empty journal, made while the clock was wrong by that much."""
        self.kill()
        self._install(clock_ms=lambda: self.clock_ms() + clock_off_ms)
        self.start()

    def close(self) -> None:
        """Give everything back."""
        self.kill()
        self._close_journal()
