"""Takes one page of fetched history into the ledger: few transactions, each of a bounded number of paths."""

from __future__ import annotations

from collections.abc import Callable

from pushmirror.core.model import Head
from pushmirror.core.tracking import Verdict, judge_update
from pushmirror.errors import ServiceError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.ledger_writes import count_paths
from pushmirror.subscriber.recorder import Recorder
from pushmirror.subscriber.records import HeardUpdate

_MOST_UPDATES = 500
_MOST_PATHS = 20_000
"""No more than this is kept in memory while the rest of a page is on its way."""


class Forked(ServiceError):
    """The history that the service handed out does not follow on what was heard."""


class Leapt(ServiceError):
    """The history jumps so far that nobody believes it who was not told the same by a fresh state."""


class HistoryPage:
    """The updates of `tree` that one answer brings, after `head`. `is_too_far` judges from one head to the next."""

    def __init__(
        self, tree: str, head: Head, ledger: Ledger, recorder: Recorder, is_too_far: Callable[[Head, Head], bool]
    ) -> None:
        self._tree = tree
        self._is_too_far = is_too_far
        self._head: Head | None = head
        self._ledger = ledger
        self._recorder = recorder
        self._waiting: list[HeardUpdate] = []
        self._paths = 0

    def take(self, fetched: HeardUpdate) -> None:
        """Take the next update of the answer. Raises Forked or ServiceError when it does not follow."""
        verdict = judge_update(self._head, fetched.update)
        if verdict is Verdict.NOTHING_NEW:
            return
        if verdict is not Verdict.NEXT:
            raise _explain(verdict)
        head = _head_of(fetched)
        if self._head is not None and self._is_too_far(self._head, head):
            raise Leapt(f"the history jumps from serial {self._head.serial} to {head.serial}")
        self._head = head
        self._waiting.append(fetched)
        self._paths += 0 if fetched.changes is None else count_paths(fetched.changes)
        if self._paths > _MOST_PATHS or len(self._waiting) >= _MOST_UPDATES:
            self.commit()

    def commit(self) -> None:
        """Record what was taken since the last commit, less what the bus has told meanwhile.

        Raises Forked or ServiceError.
        """
        waiting, self._waiting, self._paths = self._waiting, [], 0
        head, new = self._ledger.head(self._tree), []
        for fetched in waiting:
            verdict = judge_update(head, fetched.update)
            if verdict is Verdict.NEXT:
                new.append(fetched)
                head = _head_of(fetched)
            elif verdict in (Verdict.GAP, Verdict.FORK):
                raise _explain(verdict)
        if new:
            self._recorder.announce(self._tree, new)


def _explain(verdict: Verdict) -> ServiceError:
    """Return the error for an update that does not follow. One that is left out is no proof of another history."""
    if verdict in (Verdict.FORK, Verdict.NEW_EPOCH):
        return Forked("the history does not follow on what was heard")
    return ServiceError("the history that it hands out has a hole")


def _head_of(heard: HeardUpdate) -> Head:
    return Head(heard.update.epoch, heard.update.serial, heard.digest)
