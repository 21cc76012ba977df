"""What each exit code means in each stage."""

from __future__ import annotations

import pytest

from pushmirror.core.exits import Judgement, Outcome, judge_exit
from pushmirror.core.model import StageKind
from pushmirror.core.output import Notes
from pushmirror.core.paths import TreePath

DONE, RETRY, BUSY, CLASH, DISK, FULL, FAILED = (
    Outcome.DONE,
    Outcome.RETRY,
    Outcome.BUSY,
    Outcome.CLASH,
    Outcome.DISK,
    Outcome.FULL,
    Outcome.FAILED,
)
KINDS = tuple(StageKind)
QUIET = Notes()
X = frozenset({TreePath(b"x")})

# Code: what it means when rsync complained about nothing in particular.
CODES: dict[int, Outcome] = {
    0: DONE,
    1: FAILED,
    2: FAILED,
    3: FAILED,
    4: FAILED,
    5: RETRY,
    6: FAILED,
    10: RETRY,
    11: DISK,
    12: RETRY,
    13: FAILED,
    14: RETRY,
    19: RETRY,
    20: RETRY,
    21: RETRY,
    22: RETRY,
    23: RETRY,
    24: DONE,
    25: FAILED,
    30: RETRY,
    35: RETRY,
    126: FAILED,
    127: FAILED,
    -1: RETRY,
    -9: RETRY,
    -15: RETRY,
    7: FAILED,
    99: FAILED,
    255: FAILED,
}
EXCEPTIONS = {(StageKind.PLAN, 24): RETRY}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", CODES)
def test_code(kind: StageKind, code: int) -> None:
    """Each code has its meaning, some another one in some stage; what is not done says why, with the code."""
    judgement = judge_exit(kind, code, QUIET)
    assert judgement.outcome is EXCEPTIONS.get((kind, code), CODES[code])
    assert judgement.reason
    assert judgement.outcome is DONE or str(abs(code)) in judgement.reason


# Messages behind a code: what they make of it in every stage.
QUALIFIED: dict[str, tuple[int, Notes, Outcome]] = {
    "23, unreadable upstream": (23, Notes(unreadable=X), DONE),
    "23, vanished": (23, Notes(vanished=X), DONE),
    "23, both": (23, Notes(unreadable=X, vanished=X), DONE),
    "23, a directory in the way": (23, Notes(clashes=tuple(X)), CLASH),
    "23, that and unreadable": (23, Notes(clashes=tuple(X), unreadable=X), CLASH),
    "23, another error": (23, Notes(errors=("e",)), RETRY),
    "23, another error and unreadable": (23, Notes(errors=("e",), unreadable=X), RETRY),
    "23, another error and a clash": (23, Notes(errors=("e",), clashes=tuple(X)), RETRY),
    "23, disk full": (23, Notes(errors=("e",), no_space=True), FULL),
    "5, busy": (5, Notes(errors=("e",), busy=True, refused=True), BUSY),
    "5, refused": (5, Notes(errors=("e",), refused=True), FAILED),
    "5, neither": (5, Notes(errors=("e",)), RETRY),
    "10, busy": (10, Notes(errors=("e",), busy=True, refused=True), BUSY),
    "10, refused": (10, Notes(errors=("e",), refused=True), FAILED),
    "12, busy": (12, Notes(errors=("e",), busy=True, refused=True), BUSY),
    "12, refused": (12, Notes(errors=("e",), refused=True), FAILED),
    "30, refused": (30, Notes(errors=("e",), refused=True), RETRY),
    "11, no reason": (11, Notes(), DISK),
    "11, disk full": (11, Notes(errors=("e",), no_space=True), FULL),
    "12, disk full": (12, Notes(errors=("e",), no_space=True), FULL),
    "24, disk full": (24, Notes(errors=("e",), no_space=True), FULL),
    "0, whatever was said": (0, Notes(errors=("e",), no_space=True, busy=True, refused=True), DONE),
    "0, a clash": (0, Notes(clashes=tuple(X)), DONE),
    "24, vanished": (24, Notes(vanished=X), DONE),
    "killed, disk full": (-9, Notes(errors=("e",), no_space=True), RETRY),
}


@pytest.mark.parametrize(("code", "notes", "expected"), QUALIFIED.values(), ids=QUALIFIED.keys())
def test_messages_behind_a_code(code: int, notes: Notes, expected: Outcome) -> None:
    """What rsync complained about decides where a code alone does not."""
    for kind in KINDS:
        wanted = RETRY if (kind, code) in EXCEPTIONS and expected is DONE else expected
        assert judge_exit(kind, code, notes).outcome is wanted


def test_reason_names_the_first_error() -> None:
    """The reason of a failure has the code and the first thing that rsync said."""
    reason = judge_exit(StageKind.PAYLOAD, 23, Notes(errors=("first", "second"))).reason
    assert "exit code 23" in reason
    assert reason.endswith(": first")


def test_signal() -> None:
    """The signal that ended rsync is named."""
    expected = Judgement(RETRY, "rsync was ended by signal 9")
    assert judge_exit(StageKind.WHOLE, -9, QUIET) == expected


# Code and messages of a run that was not done, and whether the source may be to blame.
BLAME: dict[str, tuple[int, Notes, bool]] = {
    "another protocol": (2, QUIET, True),
    "refused options": (4, QUIET, True),
    "no such module": (5, Notes(errors=("@ERROR: Unknown module",), refused=True), True),
    "max connections": (5, Notes(errors=("@ERROR: max connections",), busy=True), True),
    "connection refused": (10, QUIET, True),
    "broken stream": (12, QUIET, True),
    "the other side was ended": (20, QUIET, True),
    "silence": (30, QUIET, True),
    "no connection in time": (35, QUIET, True),
    "no such folder there": (23, Notes(errors=('rsync: [sender] change_dir "x" failed',)), True),
    "no right to write here": (23, Notes(errors=('rsync: [receiver] mkstemp "x" failed',)), False),
    "disk full here": (12, Notes(errors=("e",), no_space=True), False),
    "a directory in the way": (20, Notes(clashes=tuple(X)), False),
    "wrong usage": (1, QUIET, False),
    "out of memory": (22, QUIET, False),
    "killed here": (-9, QUIET, False),
    "no rsync here": (127, QUIET, False),
}


@pytest.mark.parametrize(("code", "notes", "of_source"), BLAME.values(), ids=BLAME)
def test_whether_another_source_may_do_better(code: int, notes: Notes, of_source: bool) -> None:
    """What the other side or the way to it has done is no reason to give up while there are others."""
    assert judge_exit(StageKind.PAYLOAD, code, notes).of_source is of_source
