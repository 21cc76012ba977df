"""Which keys count after which rotations: tables, and whatever hypothesis thinks of."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.rotation import (
    MAX_OVERLAP_MS,
    MAX_ROTATIONS,
    Judgement,
    Rotation,
    believed_keys,
    fingerprint,
    format_rotation,
    judge_rotation,
    parse_rotation,
    retired_keys,
    signing_chain,
)
from pushmirror.errors import MalformedMessage

DAY_MS = 86_400_000
START_MS = 1_790_000_000_000


def key(number: int) -> str:
    """Return the line of a key."""
    blob = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + number.to_bytes(32, "big")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


A, B, C, D, EVIL = map(key, range(5))


def exchange(old: str, new: str, day: int = 0, overlap_days: int = 7) -> Rotation:
    """Return a rotation of some day."""
    return Rotation("t1.example.org", old, new, START_MS + day * DAY_MS, overlap_days * DAY_MS)


def known(*rotations: Rotation) -> dict[str, Rotation]:
    return {rotation.old: rotation for rotation in rotations}


D2 = key(902)
"""Pinned as well as A."""
LONG = [exchange(key(number), key(number + 1)) for number in range(MAX_ROTATIONS)]
CHAIN = known(exchange(A, B, day=0), exchange(B, C, day=30))


@pytest.mark.parametrize(
    ("rotation", "before", "judgement"),
    [
        (exchange(A, B), {}, Judgement.NEW),
        (exchange(B, C), known(exchange(A, B)), Judgement.NEW),
        (exchange(A, B), known(exchange(A, B)), Judgement.KNOWN),
        (exchange(A, B, day=400), CHAIN, Judgement.KNOWN),
        (exchange(A, EVIL), known(exchange(A, B)), Judgement.CONFLICT),
        (exchange(A, EVIL), CHAIN, Judgement.CONFLICT),
        (exchange(C, A), CHAIN, Judgement.CIRCULAR),
        (exchange(C, C), CHAIN, Judgement.CIRCULAR),
        (exchange(key(MAX_ROTATIONS), key(901)), known(*LONG), Judgement.TOO_MANY),
        (exchange(key(900), key(901)), known(*LONG), Judgement.NEW),
        (exchange(D2, key(901)), known(*LONG, exchange(key(MAX_ROTATIONS), D2)), Judgement.NEW),
    ],
)  # fmt: skip
def test_a_rotation_is_judged(rotation: Rotation, before: dict[str, Rotation], judgement: Judgement) -> None:
    """New, a repetition of any age, against one that was before, in a circle, or one too many of its chain.

    Whoever leads a chain of his own to a key that is pinned uses up nothing of it.
    """
    assert judge_rotation(rotation, before, (A, D2)) is judgement


@pytest.mark.parametrize(
    ("pinned", "rotations", "day", "believed"),
    [
        ([A], {}, 0, [A]),
        ([A], CHAIN, 5, [A, B, C]),
        ([A], CHAIN, 8, [B, C]),
        ([A], CHAIN, 38, [C]),
        ([A], known(exchange(A, B, overlap_days=30), exchange(B, C, day=1, overlap_days=0)), 1, [C]),
        ([B], CHAIN, 8, [B, C]),
        ([C], CHAIN, 8, [C]),
        ([D], CHAIN, 8, [D]),
        ([D, A], CHAIN, 38, [D, C]),
        ([], CHAIN, 8, []),
    ],
    ids=["no rotation", "within the overlap", "after it", "after both",
         "none outlives its successor", "pinned the second", "the third", "none of it",
         "two pinned", "nothing pinned"],
)  # fmt: skip
def test_what_counts_begins_at_what_is_pinned(
    pinned: Sequence[str], rotations: dict[str, Rotation], day: int, believed: Sequence[str]
) -> None:
    """Rotations lead on from pinned keys alone, and an old key counts until its overlap is over."""
    retired = retired_keys(rotations, START_MS + day * DAY_MS)
    assert list(believed_keys(pinned, rotations, retired)) == believed


@pytest.mark.parametrize(
    ("own", "held", "day", "chain"),
    [
        (A, [A], 5, [A]),
        (A, [A, B], 5, [A, B]),
        (B, [A, B], 5, [A, B]),
        (B, [B], 5, [B]),
        (B, [A, B], 8, [B]),
        (A, [A, B], 8, [B]),
        (B, [A, B, C], 31, [B, C]),
        (C, [A, B, C], 31, [B, C]),
        (D, [A, B, C, D], 31, [D]),
    ],
    ids=["nothing came of it", "interrupted", "exchanged", "the old one is lost", "after the overlap",
         "interrupted, after the overlap", "interrupted the second time", "exchanged twice", "another by hand"],
)  # fmt: skip
def test_a_publisher_signs_with_what_counts_and_is_there(
    own: str, held: Sequence[str], day: int, chain: Sequence[str]
) -> None:
    """The oldest first; a key that the operator put in its place stands for itself."""
    rotations = [exchange(A, B, day=0), *([exchange(B, C, day=30)] if day >= 30 else [])]
    assert list(signing_chain(own, held, rotations, START_MS + day * DAY_MS)) == chain


keys = st.sampled_from([key(number) for number in range(6)])
rotations = st.builds(
    Rotation, st.just("t1.example.org"), keys, keys, st.integers(0, 2**62), st.integers(0, MAX_OVERLAP_MS)
)


@given(rotations)
def test_a_message_tells_the_rotation_that_it_was_made_of(rotation: Rotation) -> None:
    """There and back."""
    assert parse_rotation(format_rotation(rotation)) == rotation


@pytest.mark.parametrize(
    ("field", "value"),
    [("new_key", "ssh-rsa AAAA"), ("new_key", A + " comment"), ("new_key", A[:-1]), ("new_key", None), ("old_key", 1),
     ("overlap_ms", MAX_OVERLAP_MS + 1), ("overlap_ms", -1), ("at_ms", True), ("publisher", "a/b"), ("format", 2)],
)  # fmt: skip
def test_a_malformed_rotation_is_none(field: str, value: object) -> None:
    """Any field that is not what the protocol says."""
    with pytest.raises(MalformedMessage):
        parse_rotation({**format_rotation(exchange(A, B)), field: value})


@given(st.lists(keys, max_size=3), st.lists(rotations, max_size=12), st.integers(0, 2**62))
def test_no_rotations_lead_away_from_what_is_pinned(pinned: list[str], told: list[Rotation], now_ms: int) -> None:
    """Whatever is told in whatever order: what counts is pinned, or was exchanged for something that did."""
    taken: dict[str, Rotation] = {}
    for rotation in told:
        if (
            rotation.old in believed_keys(pinned, taken, ())
            and judge_rotation(rotation, taken, pinned) is Judgement.NEW
        ):
            taken[rotation.old] = rotation
    believed = believed_keys(pinned, taken, retired_keys(taken, now_ms))
    reachable = set(pinned)
    for _ in taken:
        reachable |= {rotation.new for rotation in taken.values() if rotation.old in reachable}
    assert set(believed) <= reachable
    assert not set(believed) & retired_keys(taken, now_ms)
    assert len(set(believed)) == len(believed)
    if not taken:
        assert set(believed) == set(pinned)


@given(st.lists(rotations, max_size=12))
def test_telling_it_all_again_changes_nothing(told: list[Rotation]) -> None:
    """A recorded rotation that is replayed later, in any order, is none."""
    taken: dict[str, Rotation] = {}
    for rotation in told:
        if judge_rotation(rotation, taken, ()) is Judgement.NEW:
            taken[rotation.old] = rotation
    assert all(judge_rotation(rotation, taken, ()) is not Judgement.NEW for rotation in (*told, *reversed(told)))


@given(keys, st.sets(keys), st.lists(rotations, max_size=12), st.integers(0, 2**62))
def test_a_publisher_always_has_a_key_to_sign_with(own: str, held: set[str], told: list[Rotation], now_ms: int) -> None:
    """Whatever its record says: one that it holds, and its own unless it was exchanged."""
    chain = signing_chain(own, held | {own}, told, now_ms)
    assert chain and set(chain) <= held | {own}
    assert chain[-1] == own or any(rotation.old == own for rotation in told)


def test_fingerprints_are_short_and_differ() -> None:
    """Sixteen digits each."""
    assert len({fingerprint(key(number)) for number in range(100)}) == 100
    assert len(fingerprint(A)) == 16
