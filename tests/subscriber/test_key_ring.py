"""Which keys count for which tree, and what becomes of rotations: with a real ledger and real signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.rotation import MAX_ROTATIONS, ROTATED, Judgement, Rotation, format_rotation
from pushmirror.core.wire import Envelope, open_envelope
from pushmirror.errors import BadSignature, MalformedMessage
from pushmirror.keys import PrivateKey, seal
from pushmirror.publisher.identity import Identity
from pushmirror.subscriber.key_ring import KeyRing
from pushmirror.subscriber.ledger import Ledger
from tests.subscriber.upstream import (
    ENVIRONMENT,
    OTHER_TREE,
    PREFIX,
    PUBLISHER,
    START_MS,
    TREE,
    Time,
    make_key,
)

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


class Keys:
    """Keys by name, made when they are needed, and what they sign."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, PrivateKey] = {}

    def __getitem__(self, name: str) -> PrivateKey:
        if name not in self._made:
            self._made[name] = make_key(self._folder, name)
        return self._made[name]

    def exchanged(
        self, old: str, new: str, *, at_ms: int = START_MS, overlap_ms: int = WEEK_MS, by: str = "", **replaced: Any
    ) -> Envelope:
        """Return the message by which `old` is exchanged for `new`, signed by the key `by` (none: the old one)."""
        rotation = Rotation(PUBLISHER, self[old].public.line, self[new].public.line, at_ms, overlap_ms)
        identity = Identity(PUBLISHER, PREFIX, ENVIRONMENT)
        msg = {**format_rotation(rotation), **replaced}
        return open_envelope(seal(identity.compose(ROTATED, msg, at_ms=at_ms, counter=1), self[by or old]))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


class Ring:
    """A ring over the `ledger`, made anew by `restart`; its clock is `time`. Keys go by their names."""

    def __init__(self, keys: Keys, ledger: Ledger, pinned: str, *, accept: bool = True, **trees: str) -> None:
        self._keys, self._ledger, self._pinned, self._accept, self._trees = keys, ledger, pinned, accept, trees
        self.time = Time()
        self.restart()

    def restart(self, **changed: Any) -> None:
        accept, pinned = changed.get("accept", self._accept), changed.get("pinned", self._pinned)
        tree_keys = {tree: self._publics(names) for tree, names in self._trees.items()}
        self.ring = KeyRing(
            PUBLISHER, self._publics(pinned), self._ledger, self.time, tree_keys=tree_keys, accept_rotation=accept
        )

    def _publics(self, names: str) -> Sequence[Any]:
        return [self._keys[name].public for name in names]

    def of(self, tree: str) -> str:
        """Return the names of the keys that count for `tree`."""
        return "".join(_name(self._keys, key) for key in self.ring.of_tree(tree))

    def take(self, *arguments: str, **more: Any) -> Judgement:
        return self.ring.take(self._keys.exchanged(*arguments, **more))


def _name(keys: Keys, key: Any) -> str:
    return next(name for name, made in keys._made.items() if made.public == key)


def test_a_tree_with_keys_of_its_own_has_no_others(keys: Keys, ledger: Ledger) -> None:
    """Neither does the key of the upstream count for it, nor its own for another tree."""
    ring = Ring(keys, ledger, "a", **{TREE: "b"})
    assert (ring.of(TREE), ring.of(OTHER_TREE)) == ("b", "a")
    assert [_name(keys, key) for key in ring.ring.every] == ["a", "b"]


def test_a_rotation_is_followed_for_the_trees_of_the_old_key_alone(keys: Keys, ledger: Ledger) -> None:
    """The new key counts where the old one did."""
    ring = Ring(keys, ledger, "a", **{TREE: "b"})
    assert ring.take("b", "c") is Judgement.NEW
    assert (ring.of(TREE), ring.of(OTHER_TREE)) == ("bc", "a")
    assert ring.take("a", "d") is Judgement.NEW
    assert (ring.of(TREE), ring.of(OTHER_TREE)) == ("bc", "ad")


def test_without_accept_rotation_it_changes_nothing_and_is_shown(keys: Keys, ledger: Ledger) -> None:
    """Also not after the overlap; the operator who turns it on later follows it without hearing it again."""
    ring = Ring(keys, ledger, "a", accept=False)
    assert ring.take("a", "b") is Judgement.NEW
    ring.time.now_ms += 2 * WEEK_MS
    assert ring.of(TREE) == "a"
    (shown,) = ring.ring.show()["rotations"]
    assert (shown["new"], shown["followed"], shown["old_believed"]) == (keys["b"].public.line, False, True)
    with pytest.raises(BadSignature):
        ring.take("b", "c")
    ring.restart(accept=True)
    assert ring.of(TREE) == "b"


def test_the_old_key_counts_until_the_overlap_is_over_and_never_again(keys: Keys, ledger: Ledger) -> None:
    """Neither a clock that goes back nor a restart brings it back, and it exchanges nothing any more."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "b")
    ring.time.now_ms = START_MS + WEEK_MS - 1
    assert ring.of(TREE) == "ab"
    ring.time.now_ms += 1
    assert ring.of(TREE) == "b"
    ring.time.now_ms = START_MS
    assert ring.of(TREE) == "b"
    ring.restart()
    assert ring.of(TREE) == "b"
    with pytest.raises(BadSignature):
        ring.take("a", "e")
    assert ring.ring.show()["believed"] == [keys["b"].public.line]


def test_a_chain_is_learned_afterwards_in_order(keys: Keys, ledger: Ledger) -> None:
    """Whoever was off for three rotations follows them all, and believes the newest alone."""
    ring = Ring(keys, ledger, "a")
    ring.time.now_ms = START_MS + 100 * DAY_MS
    for day, (old, new) in enumerate(("ab", "bc", "cd")):
        assert ring.take(old, new, at_ms=START_MS + 20 * day * DAY_MS) is Judgement.NEW
    assert ring.of(TREE) == "d"
    ring.restart()
    assert ring.of(TREE) == "d"


def test_the_middle_of_a_chain_is_nothing_without_its_beginning(keys: Keys, ledger: Ledger) -> None:
    """A key that no pinned one led to exchanges nothing."""
    ring = Ring(keys, ledger, "a")
    with pytest.raises(BadSignature):
        ring.take("b", "c")
    assert ring.of(TREE) == "a"


@pytest.mark.parametrize(
    ("arguments", "more"),
    [(("a", "e"), {"by": "e"}), (("e", "a"), {}), (("e", "f"), {}), (("a", "e"), {"old_key": "e"})],
    ids=["signed by the new key", "from a strange key", "between strange keys", "in the name of another"],
)
def test_nobody_rotates_without_the_old_key(
    keys: Keys, ledger: Ledger, arguments: tuple[str, str], more: dict[str, Any]
) -> None:
    """Whatever the message says of itself."""
    ring = Ring(keys, ledger, "a")
    if "old_key" in more:
        more = {"old_key": keys[more["old_key"]].public.line}
    with pytest.raises(BadSignature):
        ring.take(*arguments, **more)
    assert (ring.of(TREE), ring.ring.show()["rotations"]) == ("a", [])


def test_a_signature_that_does_not_fit_exchanges_nothing(keys: Keys, ledger: Ledger) -> None:
    """The certificate is that of the old key, and the new one was put in afterwards."""
    ring = Ring(keys, ledger, "a")
    good, evil = keys.exchanged("a", "b"), keys.exchanged("a", "e")
    with pytest.raises(BadSignature):
        ring.ring.take(replace(evil, signature=good.signature, certificate=good.certificate))
    assert ring.of(TREE) == "a"


def test_a_rotation_of_another_publisher_is_none(keys: Keys, ledger: Ledger) -> None:
    """Though it is signed with a key that counts here."""
    ring = Ring(keys, ledger, "a")
    with pytest.raises(MalformedMessage):
        ring.take("a", "b", publisher="t9.example.org")
    assert ring.of(TREE) == "a"


def test_a_replay_is_nothing_at_any_time(keys: Keys, ledger: Ledger) -> None:
    """Within the overlap, after it, after the next rotation, after a restart."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "b")
    for days in (1, 10, 40):
        ring.time.now_ms = START_MS + days * DAY_MS
        if days == 40:
            ring.take("b", "c", at_ms=START_MS + 39 * DAY_MS)
        before = (ring.of(TREE), ledger.rotations(PUBLISHER))
        assert ring.take("a", "b") is Judgement.KNOWN
        ring.restart()
        assert (ring.of(TREE), ledger.rotations(PUBLISHER)) == before
    assert ring.of(TREE) == "bc"


def test_a_recorded_rotation_is_nothing_to_whoever_pinned_the_new_key(keys: Keys, ledger: Ledger) -> None:
    """After a leak the operator pins another key by hand: what the leaked one signed leads nowhere."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "e")
    ring.restart(pinned="c")
    assert ring.of(TREE) == "c"
    with pytest.raises(BadSignature):
        ring.take("a", "f")


def test_the_first_rotation_of_a_key_is_the_one_that_counts(keys: Keys, ledger: Ledger) -> None:
    """Whoever finds the old key within its overlap leads nobody astray; that it was tried is shown."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "b")
    assert ring.take("a", "e") is Judgement.CONFLICT
    assert (ring.of(TREE), ring.ring.show()["conflicts"]) == ("ab", 1)


def test_a_key_that_was_given_up_does_not_come_back(keys: Keys, ledger: Ledger) -> None:
    """A rotation back to it is none."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "b")
    assert ring.take("b", "a") is Judgement.CIRCULAR
    assert ring.of(TREE) == "ab"


def test_a_pinned_key_that_was_exchanged_ends_although_it_is_pinned(keys: Keys, ledger: Ledger) -> None:
    """The operator may leave it in the settings."""
    ring = Ring(keys, ledger, "ab")
    ring.take("a", "b")
    ring.time.now_ms += WEEK_MS
    assert ring.of(TREE) == "b"


def test_the_key_of_a_tree_does_not_use_up_the_rotations_of_the_publisher(keys: Keys, ledger: Ledger) -> None:
    """Its thief leads as long a chain as he may to the publisher's key, which is exchanged all the same."""
    ring = Ring(keys, ledger, "a", **{TREE: "b"})
    chain = ["b", *(f"evil{number}" for number in range(MAX_ROTATIONS - 1)), "a"]
    assert {ring.take(old, new) for old, new in pairwise(chain)} == {Judgement.NEW}
    assert ring.take("a", "c") is Judgement.NEW
    assert ring.take("c", "d") is Judgement.NEW
    assert ring.of(OTHER_TREE) == "acd"


def test_the_keys_of_two_publishers_are_apart(keys: Keys, ledger: Ledger) -> None:
    """What one of them says of a key that both use is of no concern to the other."""
    ring = Ring(keys, ledger, "a")
    ring.take("a", "b")
    other = KeyRing("t9.example.org", [keys["a"].public], ledger, ring.time, accept_rotation=True)
    assert other.of_tree(TREE) == (keys["a"].public,)
