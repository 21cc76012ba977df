"""What the ledger remembers of whom to believe, and that a ledger of before learns to."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pushmirror.core.leaps import Leap
from pushmirror.core.model import Head
from pushmirror.core.rotation import Rotation
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.ledger_trust import MAX_EPOCHS_OVER
from tests.subscriber.upstream import IDENTITY, OTHER_TREE, PUBLISHER, START_MS, TREE

FORMAT_1 = Path(__file__).with_name("ledger_format_1.sql")


def head(number: int, serial: int = 3) -> Head:
    """Return a head of the epoch of that number."""
    return Head(f"{START_MS + number}-0123456789abcdef", serial, f"{number:064d}")


def rotation(old: str, new: str) -> Rotation:
    return Rotation(PUBLISHER, old, new, START_MS, 1000)


def test_rotations_are_kept_in_order_and_the_first_of_a_key_stays(ledger: Ledger, tmp_path: Path) -> None:
    """Also over a restart; a second one for the same key changes nothing."""
    ledger.learn_rotation(rotation("a", "b"), b"first", START_MS)
    ledger.learn_rotation(rotation("b", "c"), b"second", START_MS + 1)
    ledger.learn_rotation(rotation("a", "x"), b"third", START_MS + 2)
    ledger.retire_keys(PUBLISHER, ["a"])
    again = Ledger(tmp_path / "ledger.sqlite")
    found = again.rotations(PUBLISHER)
    again.close()
    assert [(each.rotation.old, each.rotation.new, each.envelope, each.retired) for each in found] == [
        ("a", "b", b"first", True),
        ("b", "c", b"second", False),
    ]
    assert ledger.rotations("t9.example.org") == ()


def test_an_epoch_that_was_left_is_over_until_it_is_begun_again(ledger: Ledger) -> None:
    """All of it, whatever its serials."""
    ledger.start_over(TREE, head(1), 0, 0, same_history=False)
    ledger.start_over(TREE, head(2), 0, 0, same_history=False)
    assert (ledger.is_over(TREE, head(1, 10**9)), ledger.is_over(TREE, head(2))) == (True, False)
    ledger.start_over(TREE, head(1), 0, 0, same_history=False)
    assert (ledger.is_over(TREE, head(1)), ledger.is_over(TREE, head(2))) == (False, True)


def test_of_an_epoch_that_forked_what_was_heard_is_over(ledger: Ledger) -> None:
    """Serials above may be new ones of the branch that is left."""
    ledger.start_over(TREE, head(1, 9), 0, 0, same_history=False)
    ledger.start_over(TREE, head(1, 4), 0, 0, same_history=False)
    assert [ledger.is_over(TREE, head(1, serial)) for serial in (5, 9, 10)] == [True, True, False]


def test_a_full_sync_for_want_of_updates_ends_nothing(ledger: Ledger) -> None:
    """The history is the same."""
    ledger.start_over(TREE, head(1, 3), 0, 0, same_history=False)
    ledger.start_over(TREE, head(1, 9), 0, 0, same_history=True)
    assert not ledger.is_over(TREE, head(1, 2))


def test_the_last_epochs_are_remembered_and_no_more(ledger: Ledger) -> None:
    """Whoever signs can make up any number of them. Each tree has its own."""
    ledger.open_tree(OTHER_TREE, IDENTITY)
    ledger.note_over(OTHER_TREE, head(0).epoch)
    for number in range(MAX_EPOCHS_OVER + 10):
        ledger.note_over(TREE, head(number).epoch)
    remembered = [ledger.is_over(TREE, head(number)) for number in range(MAX_EPOCHS_OVER + 10)]
    assert remembered == [False] * 10 + [True] * MAX_EPOCHS_OVER
    assert ledger.is_over(OTHER_TREE, head(0))


def test_one_jump_of_a_tree_is_held(ledger: Ledger) -> None:
    """The last; it is gone when the tree starts anew."""
    for serial in (10, 20):
        ledger.hold_leap(TREE, Leap(head(1, serial), 7, 8, "far"))
    assert ledger.leap(TREE) == Leap(head(1, 20), 7, 8, "far")
    assert (ledger.forget_leap(TREE), ledger.forget_leap(TREE), ledger.leap(TREE)) == (True, False, None)
    ledger.hold_leap(TREE, Leap(head(1), 7, 8, "far"))
    ledger.note_over(TREE, head(2).epoch)
    ledger.open_tree(TREE, "another folder")
    assert (ledger.leap(TREE), ledger.is_over(TREE, head(2))) == (None, False)


def test_a_ledger_of_before_is_migrated(tmp_path: Path) -> None:
    """One of the first format holds all of this afterwards."""
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(FORMAT_1.read_text())
    ledger = Ledger(path)
    tree = next(iter(ledger.trees()))
    ledger.learn_rotation(rotation("a", "b"), b"message", START_MS)
    ledger.note_over(tree, head(1).epoch)
    ledger.hold_leap(tree, Leap(head(2), 7, 8, "far"))
    assert len(ledger.rotations(PUBLISHER)) == 1 and ledger.is_over(tree, head(1)) and ledger.leap(tree)
    ledger.close()
