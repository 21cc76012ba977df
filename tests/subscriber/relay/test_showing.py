"""When a mirror shows upwards what it has heard: nobody there has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from pushmirror.core.model import Head, RelayHead
from pushmirror.errors import ServiceError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.relay.showing import SHOW_EVERY_MS, Showing
from tests.subscriber.upstream import IDENTITY, START_MS, TREE, Time

EPOCH, OLDER, YOUNGER = (f"{created_ms}-0123456789abcdef" for created_ms in (START_MS, START_MS - 1, START_MS + 1))
HEARD = Head(EPOCH, 5, "d" * 64)
TESTIMONY = b"the publisher's own word"


class Mirror:
    """Has heard of serial 5; `heads` is where its relays are, `shown` what they were shown, `answers` what they said.

    An answer is None when the message was taken, and otherwise what became of it.
    """

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.sqlite")
        self.ledger.open_tree(TREE, IDENTITY)
        self.ledger.start_over(TREE, HEARD, 0, 0, same_history=False, testimony=TESTIMONY)
        self.heads: dict[str, RelayHead] = {}
        self.shown: list[bytes] = []
        self.answers: list[Any] = []
        self.time = Time()
        self.showing = Showing([TREE], self.ledger, self, lambda tree: self.heads, self.time)

    async def show_header(self, body: bytes) -> None:
        self.shown.append(body)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await answer

    def look(self, **serials: int) -> int:
        """Hear where relays are in the epoch of what was heard; return how often something was shown so far."""
        self.heads = {name: at(EPOCH, serial) for name, serial in serials.items()}
        self.showing.look()
        return len(self.shown)


def at(epoch: str, serial: int) -> RelayHead:
    """Return where a relay is."""
    return RelayHead(epoch, Head(epoch, serial, "a" * 64 if serial else None), 0)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    mirror = Mirror(tmp_path)
    yield mirror
    mirror.ledger.close()


def test_what_no_relay_has_is_shown_once_a_minute_as_long_as_that_lasts(mirror: Mirror) -> None:
    """They may be about to come to it; or their publisher has lost it, and this mirror alone can tell."""
    assert mirror.look(first=4, second=3) == 1
    assert mirror.shown == [TESTIMONY]
    assert mirror.look(first=4, second=3) == 1
    mirror.time.now_ms += SHOW_EVERY_MS
    assert mirror.look(first=4, second=4) == 2


@pytest.mark.parametrize("serials", [{}, {"first": 5}, {"first": 4, "second": 5}, {"first": 4, "second": 6}])
def test_nothing_is_shown_while_one_relay_has_it_or_none_is_heard(mirror: Mirror, serials: dict[str, int]) -> None:
    """It is known there, or there is nobody."""
    assert mirror.look(**serials) == 0


@pytest.mark.parametrize("epoch", [OLDER, YOUNGER])
def test_nothing_is_shown_to_those_in_another_epoch(mirror: Mirror, epoch: str) -> None:
    """What was said in one proves nothing about another."""
    mirror.heads = {"first": at(epoch, 1)}
    mirror.showing.look()
    assert mirror.shown == []


def test_nothing_is_shown_by_who_has_nothing_that_the_publisher_signed(mirror: Mirror) -> None:
    """A relay's word is no proof."""
    mirror.ledger.start_over(TREE, HEARD, 0, 0, same_history=False)
    assert mirror.look(first=4) == 0


def test_what_was_not_taken_is_shown_again_and_what_is_under_way_is_not(mirror: Mirror) -> None:
    """However long it takes, one is under way at a time."""
    under_way: Deferred[None] = Deferred()
    mirror.answers = [ServiceError("later"), under_way]
    assert mirror.look(first=4) == 1
    mirror.time.now_ms += SHOW_EVERY_MS
    assert mirror.look(first=4) == 2
    mirror.time.now_ms += 2 * SHOW_EVERY_MS
    assert mirror.look(first=4) == 2
    under_way.callback(None)
    assert mirror.look(first=4) == 3


def test_stopping_leaves_off_what_is_under_way(mirror: Mirror) -> None:
    """And nothing is logged as a fault of the program."""
    left: list[str] = []
    mirror.answers = [Deferred(lambda _: left.append("left"))]
    assert mirror.look(first=4) == 1
    mirror.showing.stop()
    assert left == ["left"]
