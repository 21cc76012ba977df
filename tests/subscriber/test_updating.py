"""For how long a publisher can hold jobs back by saying that it is updating a tree."""

from __future__ import annotations

import pytest

from pushmirror.core.model import Updating
from pushmirror.subscriber.updating import LONGEST_UPDATING_MS, PAUSE_MS, UpdatingTrees
from tests.subscriber.upstream import PUBLISHER, TREE, Time

HALF_MINUTE_MS = 30_000
LASTS_MS = 100_000


class Held:
    """What a publisher says of a tree, every half minute."""

    def __init__(self) -> None:
        self.time = Time()
        self.trees = UpdatingTrees(self.time)

    def say(self) -> None:
        """Half a minute later."""
        self.time.now_ms += HALF_MINUTE_MS
        assert self.trees.take(Updating(PUBLISHER, TREE, self.time(), self.time() + LASTS_MS))

    def say_for(self, duration_ms: int, *, announcing_ms: int | None = None) -> int:
        """Say it that long, with an announcement now and then; return for how long no job could begin."""
        held_ms = 0
        for turn in range(duration_ms // HALF_MINUTE_MS):
            self.say()
            held_ms += HALF_MINUTE_MS if self.trees.left_ms(TREE) else 0
            if announcing_ms is not None and turn % (announcing_ms // HALF_MINUTE_MS) == 0:
                self.trees.end(TREE)
                assert self.trees.left_ms(TREE) is None
        return held_ms


@pytest.mark.parametrize("announcing_ms", [None, 5 * 60_000, 60 * 60_000])
def test_nobody_holds_a_tree_back_for_longer_than_six_hours(announcing_ms: int | None) -> None:
    """However often it is said, and although something is announced now and then."""
    assert Held().say_for(4 * LONGEST_UPDATING_MS, announcing_ms=announcing_ms) <= LONGEST_UPDATING_MS


def test_after_a_pause_it_counts_anew() -> None:
    """A publisher that was stuck and is mended is heeded again, for as long as before."""
    held = Held()
    held.say_for(2 * LONGEST_UPDATING_MS)
    assert held.trees.left_ms(TREE) is None
    held.time.now_ms += LASTS_MS + PAUSE_MS
    held.say()
    assert held.trees.left_ms(TREE) == LASTS_MS
    assert held.say_for(2 * LONGEST_UPDATING_MS) <= LONGEST_UPDATING_MS
