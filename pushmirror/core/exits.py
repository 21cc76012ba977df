"""What an rsync exit code means: a table keyed by stage and code, and the messages that qualify code 23.

The codes are those of rsync(1), "EXIT VALUES"; 126 and 127 are the shell's for a program that cannot be started, and a
negative code is the signal that ended the program (the convention of Python's subprocess module).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pushmirror.core.model import StageKind
from pushmirror.core.output import Notes


class Outcome(Enum):
    """How one run of a stage ended."""

    DONE = "done"
    RETRY = "retry"
    """Something passing: the same again, after a while."""
    BUSY = "busy"
    """The upstream takes no more connections now: again, without counting it as a failure."""
    CLASH = "clash"
    """A directory of the mirror stands where the upstream has a file or a link."""
    DISK = "disk"
    """The mirror's disk gives trouble."""
    FULL = "full"
    """There is no room on it."""
    FAILED = "failed"
    """Nothing that time alone will mend: the operator has to look."""


_DESCRIPTIONS: Mapping[int, tuple[Outcome, str]] = {
    0: (Outcome.DONE, "done"),
    1: (Outcome.FAILED, "rsync does not know an option that it was given; it is too old, or not rsync"),
    2: (Outcome.FAILED, "the upstream speaks another protocol version, or breaks the protocol"),
    3: (Outcome.FAILED, "rsync could not select its files or folders"),
    4: (Outcome.FAILED, "the upstream refuses or lacks what was asked of it"),
    5: (Outcome.RETRY, "the upstream did not start the session"),
    6: (Outcome.FAILED, "rsync could not write its log"),
    10: (Outcome.RETRY, "the connection failed"),
    11: (Outcome.DISK, "a file could not be written or read here"),
    12: (Outcome.RETRY, "the data stream broke off"),
    13: (Outcome.FAILED, "rsync failed in its own diagnostics"),
    14: (Outcome.RETRY, "rsync's processes lost each other"),
    19: (Outcome.RETRY, "rsync was ended"),
    20: (Outcome.RETRY, "rsync was ended"),
    21: (Outcome.RETRY, "waiting for an rsync process failed"),
    22: (Outcome.RETRY, "memory ran out"),
    23: (Outcome.RETRY, "not everything could be transferred"),
    24: (Outcome.DONE, "files vanished at the upstream"),
    25: (Outcome.FAILED, "more deletions than rsync was allowed"),
    30: (Outcome.RETRY, "the upstream was silent for too long"),
    35: (Outcome.RETRY, "the upstream did not answer in time"),
    126: (Outcome.FAILED, "the rsync program cannot be executed"),
    127: (Outcome.FAILED, "the rsync program was not found"),
}

_BY_STAGE: Mapping[tuple[StageKind, int], tuple[Outcome, str]] = {
    (StageKind.PLAN, 24): (Outcome.RETRY, "the upstream changed while it was listed"),
    (StageKind.LISTING, 24): (Outcome.DONE, "files vanished at the upstream while it was listed"),
    (StageKind.SURPLUS, 24): (Outcome.DONE, "files vanished at the upstream while it was listed"),
    (StageKind.DELETE, 24): (Outcome.DONE, "a folder above a deleted path is gone too"),
}

_SESSION_CODES = frozenset({5, 10, 12})
"""What rsync ends with when the upstream declines: it depends on how soon the connection closes after its message."""

_SOURCE_CODES = frozenset({2, 4, 5, 10, 12, 19, 20, 24, 30, 35})
"""What rsync ends with when the other side, or the way to it, is at fault; 19 and 20 when that was ended, too."""

_SOURCES_WORD = "[sender]"
"""What rsync marks the messages of the other side with."""

_CLASHED_CODES = frozenset({2, 19, 20})
"""What rsync 3.5.0 ends with when a file that it cannot make way for has other names; or it hangs and is ended."""


@dataclass(frozen=True)
class Judgement:
    """How a stage ended, and why, in words for the operator."""

    outcome: Outcome
    reason: str
    of_source: bool = False
    """The source is to blame, or may be: another one may do better."""


def judge_exit(kind: StageKind, code: int, notes: Notes) -> Judgement:
    """Return what exit `code` of a run for a stage of `kind` means, given what rsync complained about."""
    if notes.clashes and (code < 0 or code in _CLASHED_CODES):
        return Judgement(Outcome.CLASH, "a directory stands where the upstream has something else")
    if code < 0:
        return Judgement(Outcome.RETRY, f"rsync was ended by signal {-code}")
    unknown = (Outcome.FAILED, "rsync ended in an unknown way")
    outcome, text = _BY_STAGE.get((kind, code)) or _DESCRIPTIONS.get(code, unknown)
    if notes.no_space and code != 0:
        outcome = Outcome.FULL
    elif code == 23:
        outcome = _judge_partial(notes)
    elif code in _SESSION_CODES:
        outcome = _judge_session(notes)
    if outcome is Outcome.DONE:
        return Judgement(outcome, text)
    return Judgement(outcome, _word(text, code, notes), _is_of_source(outcome, code, notes))


def _is_of_source(outcome: Outcome, code: int, notes: Notes) -> bool:
    if outcome in (Outcome.CLASH, Outcome.DISK, Outcome.FULL):
        return False
    return code in _SOURCE_CODES or any(_SOURCES_WORD in error for error in notes.errors)


def _judge_partial(notes: Notes) -> Outcome:
    if notes.errors:
        return Outcome.RETRY
    if notes.clashes:
        return Outcome.CLASH
    return Outcome.DONE if notes.unreadable or notes.vanished or notes.superseded else Outcome.RETRY


def _judge_session(notes: Notes) -> Outcome:
    if notes.busy:
        return Outcome.BUSY
    return Outcome.FAILED if notes.refused else Outcome.RETRY


def _word(text: str, code: int, notes: Notes) -> str:
    detail = f": {notes.errors[0]}" if notes.errors else ""
    return f"{text} (rsync exit code {code}){detail}"
