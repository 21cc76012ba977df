"""When is a sync that was asked for done?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pushmirror.errors import Refused, TimedOut
from pushmirror.monitor.waiting import Progress, judge_progress, watch_sync


def job(number: int, outcome: str = "done", *, finished: bool = True, reason: str | None = None) -> dict[str, Any]:
    return {
        "job": number,
        "outcome": outcome,
        "finished": 1_790_000_000 if finished else None,
        "serial": 12,
        "files": 3,
        "bytes": 2000,
        "deleted": 1,
        "duration_ms": 210,
        "reason": reason,
    }


def tree(state: str = "idle", **values: Any) -> dict[str, Any]:
    return {"state": state, "applied": 12, "pending_paths": 0, "pending_deletions": 0, "held": None} | values


DONE = "t: applied serial 12 in 210 ms: 3 files, 2.0 kB, 1 deleted"
ENDINGS = [
    (tree("running"), [job(6, finished=False), job(5)], None),
    (tree("waiting"), [job(6)], None),
    (tree("idle", pending_paths=3), [job(6)], None),
    (tree("idle"), [job(6), job(5)], DONE),
    (tree("idle"), [job(5)], "t: in step with serial 12, no further job was needed"),
    (tree("idle"), [], "t: in step with serial 12, no further job was needed"),
    (tree("idle", pending_deletions=2), [job(6)], f"{DONE}; 2 deletions still to come"),
    (tree("idle", pending_deletions=1, held={"deletions": 1}), [job(6)], f"{DONE}; 1 deletion held"),
    (tree("waiting"), [job(6, "waiting", reason="missing")], None),
    (tree("idle"), [job(7), job(6, "failed", reason="earlier")], DONE),
    (tree("waiting"), [job(5, "failed", reason="before")], None),
]


@pytest.mark.parametrize(("state", "jobs", "told"), ENDINGS)
def test_endings(state: dict[str, Any], jobs: list[dict[str, Any]], told: str | None) -> None:
    """It is done when the tree is idle with nothing pending; jobs up to the fifth began before it was asked for."""
    assert judge_progress("t", 5, Progress(state, jobs)) == told


@pytest.mark.parametrize(
    ("state", "jobs", "told"),
    [
        (tree("waiting"), [job(6, "failed", reason="no space left")], "no space left"),
        (tree("paused"), [job(5)], "pushmirror resume t"),
    ],
)
def test_what_cannot_succeed_is_refused(state: dict[str, Any], jobs: list[dict[str, Any]], told: str) -> None:
    """A job that failed, and a tree that is paused, end the waiting with the reason."""
    with pytest.raises(Refused, match=told):
        judge_progress("t", 5, Progress(state, jobs))


def ticking() -> Callable[[], float]:
    """A clock that is a second later each time it is asked."""
    seconds = iter(range(1000))
    return lambda: float(next(seconds))


def test_it_looks_until_it_is_done() -> None:
    """Between the looks it rests."""
    looks = iter([Progress(tree("waiting"), []), Progress(tree("running"), []), Progress(tree(), [job(6)])])
    rests: list[str] = []
    assert watch_sync("t", 5, lambda: next(looks), lambda: rests.append("rest"), ticking(), 60) == DONE
    assert rests == ["rest", "rest"]


def test_it_gives_up_in_time() -> None:
    """After the timeout it says in which state the tree is, and why."""
    waiting = Progress(tree("waiting", reason="3 announced paths are missing upstream"), [])
    with pytest.raises(TimedOut, match="waiting: 3 announced paths"):
        watch_sync("t", 5, lambda: waiting, lambda: None, ticking(), 3)
