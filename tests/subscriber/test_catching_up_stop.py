"""A catch-up that is left off leaves nothing behind, however many services it still could ask."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from pushmirror.core.model import Head, TreeState
from pushmirror.errors import ServiceError
from pushmirror.subscriber.catching_up import CatchingUp
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.recorder import Recorder
from pushmirror.subscriber.records import HeardUpdate
from pushmirror.subscriber.tracker import DEFAULT_BOUNDS
from pushmirror.subscriber.updating import UpdatingTrees
from tests.subscriber.upstream import START_MS, TREE


class Unanswered:
    """Three services, each asked when the one before has failed; none ever answers. `asked` is how many were."""

    def __init__(self) -> None:
        self.asked = 0
        self.waits = False

    async def _ask(self) -> None:
        for _ in range(3):
            self.asked += 1
            self.waits = True
            try:
                await Deferred()
            except CancelledError:
                self.waits = False
        raise ServiceError("nobody answers")

    async def updates(self, tree: str, epoch: str, after: int, take: Callable[[HeardUpdate], None]) -> int:
        await self._ask()
        return 0

    async def state(self, tree: str) -> TreeState:
        await self._ask()
        raise AssertionError

    async def show_header(self, body: bytes) -> None:
        await self._ask()

    def expects(self, tree: str, wanted: Head) -> bool:
        return False

    def has_more(self, tree: str, head: Head) -> bool:
        return False


def test_a_stop_leaves_off_every_service_that_is_asked_in_turn(ledger: Ledger) -> None:
    """Otherwise the next one would be asked after the ledger was closed."""
    services = Unanswered()
    changed: list[str] = []
    recorder = Recorder(ledger, UpdatingTrees(lambda: START_MS), lambda: START_MS, changed.append)
    catching_up = CatchingUp(
        Clock(), TREE, ledger, recorder, services, lambda: START_MS, lambda: START_MS, DEFAULT_BOUNDS
    )
    catching_up.want(None, 0, doubt=True)
    assert services.waits
    catching_up.stop()
    assert (services.asked, services.waits) == (3, False)
    assert changed == [TREE]
