"""Which source a job reads from, and what it means when none will do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.exits import Judgement, Outcome
from pushmirror.core.model import Head, RelayHead
from pushmirror.core.sources import (
    Choice,
    Known,
    MarkerVerdict,
    Proof,
    SourceState,
    Wanted,
    choose_source,
    compose_identity,
    continue_identity,
    describe_source,
    judge_source,
    sum_up,
)

EPOCH, OTHER_EPOCH = "1700000000000-0123456789abcdef", "1700000000001-0123456789abcdef"
NOW_MS = 1_790_000_000_000
LATER_MS = NOW_MS + 1
DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
WANTED = Wanted(Head(EPOCH, 12, DIGEST), 11)
WHOLE = replace(WANTED, least=12)
DELETING = Wanted(Head(EPOCH, 12, None), 12, deleting=True)
UNHEARD = Wanted(None, -1)

ORIGIN = Known()
SILENT = Known(Proof.RELAY)
SAME, OTHER, UNKNOWN = (Known(Proof.MARKER, marker=verdict) for verdict in MarkerVerdict)
UNSEEN = Known(Proof.MARKER)

READY, BEHIND, NOT_KNOWN, FAILING = SourceState.READY, SourceState.BEHIND, SourceState.UNKNOWN, SourceState.FAILING


def relay(serial: int, epoch: str = EPOCH, digest: str | None = DIGEST) -> Known:
    """Return what is known of a source whose relay has applied `serial`."""
    return Known(Proof.RELAY, relay=RelayHead(epoch, Head(epoch, serial, digest), serial))


def unclean(serial: int, cleaned: int) -> Known:
    """Return what is known of a source whose relay has deletions left to do."""
    return Known(Proof.RELAY, relay=RelayHead(EPOCH, Head(EPOCH, serial, DIGEST), cleaned))


def resting(known: Known, trouble: str = "refused") -> Known:
    """Return `known` after a failure."""
    return replace(known, trouble=trouble, rests_until_ms=LATER_MS)


# Source, what is wanted, the state, and up to which serial it can be read.
STANDINGS: dict[str, tuple[Known, Wanted, SourceState, int]] = {
    "the origin has what it announced": (ORIGIN, WANTED, READY, 12),
    "also when nothing was": (ORIGIN, UNHEARD, READY, -1),
    "also for deletions": (ORIGIN, DELETING, READY, 12),
    "a relay that was not heard": (SILENT, WANTED, NOT_KNOWN, -1),
    "not even when nothing is announced": (SILENT, UNHEARD, NOT_KNOWN, -1),
    "a relay that is as far": (relay(12), WANTED, READY, 12),
    "a relay that is further": (relay(13), WANTED, READY, 12),
    "a relay when nothing is announced": (relay(3), UNHEARD, READY, -1),
    "a relay that has a part of it": (relay(11), WANTED, READY, 11),
    "a part will not do for the whole tree": (relay(11), WHOLE, BEHIND, 11),
    "a relay that has nothing of it": (relay(10), WANTED, BEHIND, 10),
    "a relay with another update of that serial": (relay(12, digest=OTHER_DIGEST), WANTED, BEHIND, -1),
    "a relay where digests are not known": (relay(12, digest=OTHER_DIGEST), DELETING, READY, 12),
    "a relay with another journal": (relay(12, OTHER_EPOCH), WANTED, BEHIND, -1),
    "a relay that is behind what was applied, for deletions": (relay(11), DELETING, BEHIND, 11),
    "a marker that is the same": (SAME, WANTED, READY, 12),
    "a marker that is another": (OTHER, WANTED, BEHIND, -1),
    "a marker that could not be compared": (UNKNOWN, WANTED, NOT_KNOWN, -1),
    "a marker is no word on deletions": (SAME, DELETING, NOT_KNOWN, -1),
    "a marker that was not looked at": (UNSEEN, WANTED, NOT_KNOWN, 12),
}


@pytest.mark.parametrize(("known", "wanted", "state", "serial"), STANDINGS.values(), ids=STANDINGS)
def test_standing(known: Known, wanted: Wanted, state: SourceState, serial: int) -> None:
    """Each kind of source is judged by what it can prove; whatever is not ready says why."""
    standing = judge_source(known, wanted)
    assert (standing.state, standing.serial) == (state, serial)
    assert state is READY or standing.reason
    assert standing.unseen == (known is UNSEEN and not wanted.deleting)


# Sources in order of preference, those tried, and the one that is chosen.
CHOICES: dict[str, tuple[list[Known], list[int], Choice | None]] = {
    "the first": ([ORIGIN, ORIGIN], [], Choice(0, 12)),
    "the first that was not tried": ([ORIGIN, ORIGIN], [0], Choice(1, 12)),
    "the first that does not rest": ([resting(ORIGIN), ORIGIN], [], Choice(1, 12)),
    "one that rests, before none": ([resting(ORIGIN), OTHER], [], Choice(0, 12)),
    "the first that rests": ([resting(ORIGIN), resting(ORIGIN)], [], Choice(0, 12)),
    "the first after its rest": ([replace(resting(ORIGIN), rests_until_ms=NOW_MS), ORIGIN], [], Choice(0, 12)),
    "never one that is behind": ([OTHER, relay(3), ORIGIN], [], Choice(2, 12)),
    "none that is not known": ([SILENT, UNKNOWN], [], None),
    "a look first": ([UNSEEN, ORIGIN], [], Choice(0, 12, look=True)),
    "no look behind one that will do": ([ORIGIN, UNSEEN], [], Choice(0, 12)),
    "all of it before a part": ([relay(11), ORIGIN], [], Choice(1, 12)),
    "a part before one that rests": ([relay(11), resting(ORIGIN)], [], Choice(0, 11)),
    "a part before nothing": ([relay(11), OTHER], [], Choice(0, 11)),
    "nothing when all were tried": ([ORIGIN], [0], None),
}


@pytest.mark.parametrize(("sources", "tried", "choice"), CHOICES.values(), ids=CHOICES)
def test_choice(sources: list[Known], tried: list[int], choice: Choice | None) -> None:
    """The first that has what is wanted; failures and partial content change the order, and never what is known."""
    assert choose_source(sources, WANTED, tried, NOW_MS) == choice


heads = st.builds(Head, st.sampled_from([EPOCH, OTHER_EPOCH]), st.integers(0, 5), st.sampled_from([DIGEST, None]))
knowns = st.builds(
    Known,
    st.sampled_from(Proof),
    st.none() | heads.map(lambda head: RelayHead(head.epoch, head, 0)),
    st.none() | st.sampled_from(MarkerVerdict),
    st.none() | st.just("refused"),
    st.none() | st.integers(NOW_MS - 2, NOW_MS + 2),
)
wants = heads.flatmap(
    lambda head: st.builds(Wanted, st.just(head), st.integers(0, head.serial), st.booleans())
) | st.just(UNHEARD)


@pytest.mark.parametrize(
    ("sources", "clean", "index"),
    [
        ([unclean(12, 9), relay(12)], None, 0),
        ([unclean(12, 9), relay(12)], 9, 0),
        ([unclean(12, 9), relay(12)], 10, 1),
        ([unclean(12, 9), unclean(12, 10)], 10, 1),
        ([unclean(12, 9), ORIGIN], 10, 0),
        ([unclean(12, 9), ORIGIN, relay(12)], 10, 1),
        ([unclean(12, 9), SAME, relay(12)], 10, 1),
        ([unclean(12, 9), relay(12, OTHER_EPOCH)], 10, 0),
        ([unclean(12, 9), resting(relay(12))], 10, 0),
        ([unclean(12, 9), relay(11)], 10, 0),
    ],
)
def test_what_is_to_be_compared_again_is_read_from_a_source_that_is_clean(
    sources: list[Known], clean: int | None, index: int
) -> None:
    """If there is such a relay: that the preferred one will be clean in a moment is no reason to go to the origin."""
    choice = choose_source(sources, replace(WANTED, clean=clean), (), NOW_MS)
    assert choice is not None and choice.index == index


@given(st.lists(knowns, max_size=5), wants, st.sets(st.integers(0, 4)))
def test_only_a_source_that_proves_what_it_has_is_chosen(sources: list[Known], wanted: Wanted, tried: set[int]) -> None:
    """Whatever is known: what is chosen was not tried, has enough, and is not beaten by one before it."""
    choice = choose_source(sources, wanted, tried, NOW_MS)
    if choice is None:
        assert all(known.proof is not Proof.NONE for index, known in enumerate(sources) if index not in tried)
        return
    chosen = sources[choice.index]
    assert choice.index not in tried
    assert wanted.head is None or wanted.least <= choice.serial <= wanted.head.serial
    if chosen.proof is Proof.MARKER:
        assert not wanted.deleting
        assert chosen.marker is MarkerVerdict.SAME or (choice.look and chosen.marker is None)
    if chosen.proof is Proof.RELAY:
        assert chosen.relay is not None
        assert wanted.head is None or chosen.relay.epoch == wanted.head.epoch
        assert wanted.head is None or chosen.relay.applied.serial >= choice.serial
    before = [known for index, known in enumerate(sources[: choice.index]) if index not in tried]
    assert not any(known.proof is Proof.NONE and not known.rests_until_ms for known in before)


@given(st.lists(knowns, min_size=1, max_size=5), wants)
def test_one_look_after_the_other_comes_to_an_end(sources: list[Known], wanted: Wanted) -> None:
    """Each look at a marker settles one source, so that a job reads or gives up after as many as there are."""
    for _ in range(len(sources) + 1):
        choice = choose_source(sources, wanted, (), NOW_MS)
        if choice is None or not choice.look:
            return
        sources[choice.index] = replace(sources[choice.index], marker=MarkerVerdict.OTHER)
    pytest.fail("there was no end")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (ORIGIN, (READY, None)),
        (resting(ORIGIN), (FAILING, "refused")),
        (replace(resting(ORIGIN), rests_until_ms=NOW_MS), (READY, None)),
        (resting(OTHER), (BEHIND, "its marker is not the origin's")),
        (SILENT, (NOT_KNOWN, "its relay has not been heard")),
        (relay(10), (BEHIND, "its relay has serial 10 of 12")),
        (relay(11), (READY, "its relay has serial 11 of 12")),
    ],
)
def test_what_an_operator_is_told(known: Known, expected: tuple[SourceState, str | None]) -> None:
    """Its state in a word, and why it is not used, or not for all."""
    assert describe_source(known, WANTED, NOW_MS) == expected


OUTCOMES = [
    ({Outcome.BUSY}, Outcome.BUSY),
    ({Outcome.FAILED}, Outcome.FAILED),
    ({Outcome.RETRY}, Outcome.RETRY),
    ({Outcome.FAILED, Outcome.BUSY}, Outcome.RETRY),
    ({Outcome.FAILED, Outcome.RETRY}, Outcome.RETRY),
    ({Outcome.BUSY, Outcome.RETRY}, Outcome.RETRY),
]


@pytest.mark.parametrize(("outcomes", "expected"), OUTCOMES)
def test_sum(outcomes: set[Outcome], expected: Outcome) -> None:
    """Each source is named by its number, without its URL; time may mend it when it may mend one of them."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.value)
    judgement = sum_up({2 - index: Judgement(outcome, outcome.value) for index, outcome in enumerate(ordered)})
    assert judgement.outcome is expected
    reasons = [outcome.value for outcome in reversed(ordered)]
    numbers = range(3 - len(reasons), 3)
    told = "; ".join(f"source {number}: {reason}" for number, reason in zip(numbers, reasons, strict=True))
    assert judgement.reason == f"no source will do: {told}"


A, B, C = (f"rsync://{name}/debian/" for name in "abc")
# What was configured before, what is now, and whether the record goes on.
IDENTITIES: dict[str, tuple[list[str], list[str], bool]] = {
    "the same": ([A], [A], True),
    "one more": ([A], [A, B], True),
    "another order": ([A, B], [B, A], True),
    "one less": ([A, B], [B], True),
    "one replaced": ([A, B], [B, C], True),
    "all replaced": ([A], [B], False),
    "only sources that prove what they have": ([A], [], True),
    "an origin beside such": ([], [A], True),
}


@pytest.mark.parametrize(("before", "now", "goes_on"), IDENTITIES.values(), ids=IDENTITIES)
def test_identity(before: list[str], now: list[str], goes_on: bool) -> None:
    """The serials mean what they did, as long as the sources have one of the origin's URLs in common."""
    old, new = (compose_identity("t1", urls, "/srv/a b") for urls in (before, now))
    assert (continue_identity(old, new) is not None) == goes_on
    assert continue_identity(old, compose_identity("t1", now, "/srv/other")) is None
    assert continue_identity(old, compose_identity("t2", now, "/srv/a b")) is None


def test_the_identity_of_one_source_is_as_it_has_always_been() -> None:
    """Ledgers that were written when a tree had one source go on."""
    assert compose_identity("t1", [A], "/srv/a b") == f"t1 {A} /srv/a b"


def test_the_origin_is_remembered_while_only_others_are_read() -> None:
    """Otherwise any other one could take its place afterwards."""
    origin, none, another = (compose_identity("t1", urls, "/srv") for urls in ([A], [], [B]))
    kept = continue_identity(origin, none)
    assert kept == origin
    assert continue_identity(kept, another) is None


@given(st.text(), st.text())
def test_any_text_is_an_identity(before: str, now: str) -> None:
    """Whatever stands in a ledger is compared without an error."""
    assert continue_identity(before, before) == before
    continue_identity(before, now)
