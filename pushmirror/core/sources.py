"""Which source a job reads from: the first, in the operator's order, that is known to have what was announced.

All sources of a tree hold the same publisher's updates. The origin's own always has what it announced; a relay says
with its signature how far it is; of a mirror without pushmirror a marker file tells whether it is as the origin is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Head, RelayHead


class Proof(Enum):
    """How it is known what a source has."""

    NONE = "none"
    """It is the origin itself."""
    RELAY = "relay"
    MARKER = "marker"


class MarkerVerdict(Enum):
    """What a look at a marker file has shown; it holds for one serial."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"
    """One of the two files could not be looked at."""


class SourceState(Enum):
    """What ``status`` says of a source."""

    READY = "ready"
    BEHIND = "behind"
    """It is known not to have what is wanted."""
    UNKNOWN = "unknown"
    """It is not known what it has, so that it is not used."""
    FAILING = "failing"
    """It did not do what it was asked for; it is passed over for a while, if another one will do."""


@dataclass(frozen=True)
class Wanted:
    """What a job needs of its source.

    `head` is the newest update that it is to apply, None when none was announced yet. From a relay that is not there
    yet it takes what there is, if that is at least serial `least`.
    """

    head: Head | None
    least: int
    deleting: bool = False
    """The job only deletes."""
    clean: int | None = None
    """Something is to be compared again with a source that has done its deletions up to this serial."""


@dataclass(frozen=True)
class Known:
    """What is known of one source now."""

    proof: Proof = Proof.NONE
    relay: RelayHead | None = None
    marker: MarkerVerdict | None = None
    """None: its marker has yet to be looked at."""
    trouble: str | None = None
    """Why it failed when it was used last; None when it did not."""
    rests_until_ms: int | None = None


@dataclass(frozen=True)
class Standing:
    """Whether a source has what is wanted, up to which `serial`, and if not why."""

    state: SourceState
    serial: int
    reason: str | None = None
    unseen: bool = False
    """What it has can be found out by a look at its marker."""


@dataclass(frozen=True)
class Choice:
    """The source number `index` is the one, up to `serial`; with `look` only if a look at its marker says so."""

    index: int
    serial: int
    look: bool = False


def judge_source(known: Known, wanted: Wanted) -> Standing:
    """Return whether a source has what is wanted, leaving aside whether it has failed lately."""
    if known.proof is Proof.RELAY:
        return _judge_relay(known.relay, wanted)
    serial = -1 if wanted.head is None else wanted.head.serial
    if known.proof is Proof.MARKER:
        return _judge_marker(known.marker, wanted, serial)
    return Standing(SourceState.READY, serial)


def _judge_relay(relay: RelayHead | None, wanted: Wanted) -> Standing:
    if relay is None:
        return Standing(SourceState.UNKNOWN, -1, "its relay has not been heard")
    head, has = wanted.head, relay.applied
    if head is None:
        return Standing(SourceState.READY, -1)
    if has.epoch != head.epoch:
        return Standing(SourceState.BEHIND, -1, "its relay follows another journal of the publisher")
    if has.serial == head.serial and None not in (has.digest, head.digest) and has.digest != head.digest:
        return Standing(SourceState.BEHIND, -1, f"its relay holds another serial {head.serial} than was announced")
    if has.serial < head.serial:
        reason = f"its relay has serial {has.serial} of {head.serial}"
        return Standing(SourceState.BEHIND if has.serial < wanted.least else SourceState.READY, has.serial, reason)
    return Standing(SourceState.READY, head.serial)


def _judge_marker(verdict: MarkerVerdict | None, wanted: Wanted, serial: int) -> Standing:
    if wanted.deleting:
        return Standing(SourceState.UNKNOWN, -1, "a marker does not tell what a mirror leaves out: nothing is deleted")
    if verdict is None:
        return Standing(SourceState.UNKNOWN, serial, "its marker was not looked at yet", unseen=True)
    if verdict is MarkerVerdict.SAME:
        return Standing(SourceState.READY, serial)
    if verdict is MarkerVerdict.OTHER:
        return Standing(SourceState.BEHIND, -1, "its marker is not the origin's")
    return Standing(SourceState.UNKNOWN, -1, "its marker could not be compared with the origin's")


def choose_source(sources: Sequence[Known], wanted: Wanted, tried: Iterable[int], now_ms: int) -> Choice | None:
    """Return which of `sources`, in the order of preference, a job reads from; None when none will do.

    Those that the job has `tried` in vain are left out. One that rests after a failure comes after all that do not;
    among these, one that has only part of what is wanted comes after those that have all. When a relay is clean as far
    as it takes to compare something again, those that are not come last, as it would be done in vain.
    """
    passed_over = set(tried)
    judged = [
        (index, known, standing)
        for index, known in enumerate(sources)
        if index not in passed_over
        and ((standing := judge_source(known, wanted)).state is SourceState.READY or standing.unseen)
    ]
    some_clean = any(_is_clean_relay(known, wanted) for _, known, _ in judged)
    ranked = []
    for index, known, standing in judged:
        resting = known.rests_until_ms is not None and known.rests_until_ms > now_ms
        partial = wanted.head is not None and standing.serial < wanted.head.serial
        unclean = some_clean and known.proof is Proof.RELAY and not _is_clean_relay(known, wanted)
        ranked.append((resting, partial, unclean, index, Choice(index, standing.serial, look=standing.unseen)))
    return min(ranked)[-1] if ranked else None


def _is_clean_relay(known: Known, wanted: Wanted) -> bool:
    return wanted.clean is not None and known.relay is not None and known.relay.cleaned >= wanted.clean


def describe_source(known: Known, wanted: Wanted, now_ms: int) -> tuple[SourceState, str | None]:
    """Return the state of a source for the operator, and why it is not used."""
    standing = judge_source(known, wanted)
    if standing.state is SourceState.READY and known.rests_until_ms is not None and known.rests_until_ms > now_ms:
        return SourceState.FAILING, known.trouble
    return standing.state, standing.reason


def sum_up(judgements: Mapping[int, Judgement]) -> Judgement:
    """Return what it means that no source will do, from what is wrong with each: by its number, which counts from 1.

    Time mends it if it mends one of them; nobody has failed if nobody did.
    """
    outcomes = {judgement.outcome for judgement in judgements.values()}
    if outcomes <= {Outcome.BUSY}:
        outcome = Outcome.BUSY
    else:
        outcome = Outcome.FAILED if outcomes <= {Outcome.FAILED} else Outcome.RETRY
    reasons = "; ".join(f"source {number}: {judgement.reason}" for number, judgement in sorted(judgements.items()))
    return Judgement(outcome, f"no source will do: {reasons}")


def continue_identity(before: str, now: str) -> str | None:
    """Return under which identity the record of a tree goes on, None when it has to be started anew.

    An identity is the upstream, the URLs of the origin's own sources, and the folder (`compose_identity`). Only these
    URLs are nothing but the operator's word for what is behind them: as long as one of them stays, or the tree is only
    read from sources that prove what they have, the serials go on meaning what they did.
    """
    if before == now:
        return now
    (upstream, urls, folder), (upstream_now, urls_now, folder_now) = _split(before), _split(now)
    if (upstream, folder) != (upstream_now, folder_now):
        return None
    if not urls_now:
        return before
    return now if not urls or urls & urls_now else None


def compose_identity(upstream: str, origin_urls: Iterable[str], folder: str) -> str:
    """Return the identity of a tree: what must not change altogether without a new first sync."""
    return f"{upstream} {_BETWEEN.join(sorted(origin_urls))} {folder}"


_BETWEEN = "\t"
"""No URL holds white space."""


def _split(identity: str) -> tuple[str, frozenset[str], str]:
    upstream, urls, folder = (*identity.split(" ", 2), "", "")[:3]
    return upstream, frozenset(filter(None, urls.split(_BETWEEN))), folder
