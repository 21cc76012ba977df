"""The state machine over relays: what can happen to them besides, and where they stand."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import initialize, rule

from pushmirror.core.paths import TreePath
from tests.core.tree_model import Style
from tests.model.machine import PATHS, STYLES, WHO, Rules
from tests.model.places import TIERS, Places

_FOLDERS = st.sampled_from([TreePath(b"d"), TreePath(b"d/e")])
_ROUNDS = st.sampled_from([0, 2, 5, 10, 30])
"""So often everything goes on; half a dozen rounds bring an update into place at a relay."""
_INSIDE = st.sampled_from([TreePath(b"d/1"), TreePath(b"d/2"), TreePath(b"d/e/3")])


class Tiers(Rules):
    """A Tier 1, one or two relays, and a leaf below them."""

    @initialize(places=st.sampled_from(TIERS), settled=st.booleans())
    def stand(self, places: Places, settled: bool) -> None:
        self.begin(places)
        if settled:
            self.put(TreePath(b"d/e/3"), "file")
            self.world.settle()

    @rule(rounds=_ROUNDS)
    def work(self, rounds: int) -> None:
        """All that is not broken goes on: it takes some while until an update is at the leaf."""
        self.world.work(rounds)

    @rule(path=PATHS, deleted=st.booleans(), style=STYLES, rounds=_ROUNDS)
    def announce_and_work(self, path: TreePath, deleted: bool, style: Style, rounds: int) -> None:
        if deleted:
            self.delete_and_announce(style, path)
        else:
            self.put_and_announce(style, path)
        self.world.work(rounds)

    @rule(folder=_FOLDERS, inside=_INSIDE, deleted=st.booleans(), rounds=_ROUNDS)
    def announce_a_folder(self, folder: TreePath, inside: TreePath, deleted: bool, rounds: int) -> None:
        """What is surplus in a folder that is compared cannot be told from what its relay has yet to delete."""
        self.announce_and_work(inside, deleted, Style(recursive=folder), rounds)

    @rule(who=WHO)
    def forget_what_was_applied(self, who: int) -> None:
        """What a relay keeps for those below has become too old."""
        if mirror := self.mirror(who):
            mirror.forget_history()

    @rule(who=WHO)
    def switch_the_service_of_a_relay(self, who: int) -> None:
        mirror = self.world.mirrors[who % len(self.world.mirrors)]
        if mirror.place.relaying:
            self.world.down ^= {mirror.name}
