"""The ledger against a model of a dozen lines, by random sequences of what a daemon, an operator and a crash do."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import NEVER
from tests.subscriber.test_ledger import NOW, announce, digest
from tests.subscriber.upstream import IDENTITY, TREE

NAMES = st.sets(st.sampled_from([TreePath(name) for name in (b"a", b"b", b"c", b"a/1", b"a/2", b"b/1", b"\xff")]))


@dataclass
class Model:
    """What the ledger has to know. `pending` is by serial (None: whole), `deletions` the serial of each path."""

    announced: int = NEVER
    applied: int = NEVER
    generation: int = 0
    epoch: str | None = None
    pending: dict[int, ChangeList | None] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    """When each of `pending` was put there, as a number that only grows."""
    number: int = 0
    deletions: dict[TreePath, int] = field(default_factory=dict)
    approved: set[TreePath] = field(default_factory=set)
    held: bool = False

    @property
    def cleaned(self) -> int:
        if not self.deletions:
            return self.applied
        return max(NEVER, min(self.applied, min(self.deletions.values()) - 1))

    def put_pending(self, serial: int, changes: ChangeList | None, *, alone: bool = False) -> None:
        if alone:
            self.pending.clear()
        self.number += 1
        self.pending[serial], self.numbers[serial] = changes, self.number

    def finish(self, serial: int, taken: int, deletions: set[TreePath], settled: set[TreePath]) -> None:
        kin = {
            path: [
                old
                for name, old in self.deletions.items()
                if name.startswith(path + b"/") or path.startswith(name + b"/")
            ]
            for path in deletions
        }
        lowest = min(serial, self.applied + 1)
        for path in settled:
            self.deletions.pop(path, None)
            self.approved.discard(path)
        for path in deletions:
            self.deletions.setdefault(path, min([lowest, *kin[path]]))
        self.pending = {
            old: changes for old, changes in self.pending.items() if old > serial or self.numbers[old] > taken
        }
        self.applied = serial


@dataclass
class Job:
    """A job that runs: what it saw when it began."""

    serial: int
    generation: int
    taken: int
    """The highest number of a pending update, in the ledger and in the model."""
    taken_in_model: int


class LedgerMachine(RuleBasedStateMachine):
    """Announcements, jobs that begin and end, an operator, and restarts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = Model()
        self.job: Job | None = None
        self.epochs = 0
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder / "ledger")
        assert self.ledger.open_tree(TREE, IDENTITY) is False

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    @rule()
    def restart(self) -> None:
        """All that is in memory is lost, the job that ran too."""
        self.ledger.close()
        self.open()
        interrupted = self.ledger.interrupt_jobs(NOW)
        assert len(interrupted) == (self.job is not None)
        self.job = None

    @precondition(lambda self: self.model.announced != NEVER)
    @rule(changed=NAMES, whole=st.booleans())
    def announce(self, changed: set[TreePath], whole: bool) -> None:
        serial = self.model.announced + 1
        changes = None if whole else ChangeList(changed=tuple(sorted(changed)))
        announce(self.ledger, serial, changes)
        self.model.announced = serial
        self.model.put_pending(serial, changes)
        self.model.epoch = self.ledger.tree(TREE).head.epoch  # type: ignore[union-attr]  # there is one by now

    @rule(serial=st.integers(0, 9))
    def start_over(self, serial: int) -> None:
        """Another epoch."""
        self.epochs += 1
        epoch = f"{1_700_000_000_000 + self.epochs}-0123456789abcdef"
        head = Head(epoch, serial, digest(serial) if serial else None)
        self.ledger.start_over(TREE, head, NOW, NOW, same_history=False)
        model = self.model
        model.announced, model.applied, model.epoch = serial, NEVER, epoch
        model.put_pending(serial, None, alone=True)
        model.generation += 1
        model.deletions = dict.fromkeys(model.deletions, 0)

    @precondition(lambda self: self.model.announced != NEVER)
    @rule(missed=st.integers(1, 5))
    def lose_history(self, missed: int) -> None:
        """Updates that nobody can hand out."""
        serial = self.model.announced + missed
        head = Head(self.model.epoch or "", serial, digest(serial))
        self.ledger.start_over(TREE, head, NOW, NOW, same_history=True)
        self.model.announced = serial
        self.model.put_pending(serial, None, alone=True)

    @precondition(lambda self: self.job is None and self.model.announced != NEVER)
    @rule()
    def begin_job(self) -> None:
        self.ledger.begin_job(TREE, "list", self.model.announced, NOW)
        taken = max((update.number for update in self.ledger.pending(TREE)), default=0)
        self.job = Job(self.model.announced, self.model.generation, taken, self.model.number)

    @precondition(lambda self: self.job is not None)
    @rule(deletions=NAMES, settled=NAMES)
    def finish_puts(self, deletions: set[TreePath], settled: set[TreePath]) -> None:
        assert self.job is not None
        settled -= deletions
        recorded = self.ledger.finish_puts(
            TREE, self.job.serial, self.job.generation, sorted(deletions), settled=settled, due_ms=NOW, entries=10,
            incomplete=(), taken=self.job.taken,
        )  # fmt: skip
        assert recorded == (self.job.generation == self.model.generation)
        if recorded:
            self.model.finish(self.job.serial, self.job.taken_in_model, deletions, settled)
        self.ledger.interrupt_jobs(NOW)
        self.job = None

    @rule(gone=NAMES, kept=NAMES)
    def finish_deletions(self, gone: set[TreePath], kept: set[TreePath]) -> None:
        self.ledger.finish_deletions(TREE, gone, kept - gone, NOW)
        for path in gone:
            self.model.deletions.pop(path, None)
            self.model.approved.discard(path)

    @rule()
    def hold(self) -> None:
        self.ledger.hold(TREE, "too many")
        self.model.held = True

    @rule()
    def approve(self) -> None:
        assert self.ledger.approve(TREE) == len(self.model.deletions)
        self.model.approved = set(self.model.deletions)
        self.model.held = False

    @rule()
    def refuse(self) -> None:
        refused = set(self.model.deletions) - self.model.approved
        assert self.ledger.refuse(TREE) == len(refused)
        for path in refused:
            del self.model.deletions[path]
        self.model.held = False

    @precondition(lambda self: self.model.announced != NEVER)
    @rule()
    def want_whole(self) -> None:
        self.ledger.want_whole(TREE, NOW)
        self.model.put_pending(self.model.announced, None)

    @rule()
    def fail(self) -> None:
        self.ledger.fail(TREE, "failed", NOW, counts=True, hopeless=False)

    @invariant()
    def the_record_is_the_models(self) -> None:
        record, model = self.ledger.tree(TREE), self.model
        assert (record.announced, record.applied, record.cleaned) == (model.announced, model.applied, model.cleaned)
        assert record.generation == model.generation
        assert (record.held is not None) == model.held
        assert record.pending_updates == len(model.pending)
        assert record.whole_pending == (None in model.pending.values())
        assert record.pending_deletions == len(model.deletions)
        due = set(model.deletions) if not model.held else model.approved
        assert record.deletion_due_ms == (NOW if due else None)

    @invariant()
    def the_lists_are_the_models(self) -> None:
        assert {u.serial: u.changes for u in self.ledger.pending(TREE)} == self.model.pending
        found = {d.path: (d.serial, d.approved) for d in self.ledger.deletions(TREE)}
        assert found == {path: (old, path in self.model.approved) for path, old in self.model.deletions.items()}

    @invariant()
    def the_watermarks_are_in_their_order(self) -> None:
        record = self.ledger.tree(TREE)
        assert record.cleaned <= record.applied <= record.announced


class TestLedgerModel(LedgerMachine.TestCase):  # type: ignore[misc,valid-type]  # hypothesis makes it
    """The random sequences."""

    settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
