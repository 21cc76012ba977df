"""Newcomers on a bus: told soon, together, and in a flood of them not more often than a bus can bear."""

from __future__ import annotations

from twisted.internet.task import Clock

from pushmirror.bus.greeting import GREETING_SECONDS, GREETINGS_AT_ONCE, GREETINGS_PER_SECOND, Greeter

STEP_SECONDS = 0.1


class Stage:
    """A greeter on a clock that the test moves; `told` is when it told, in seconds from the start."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[float] = []
        self.greeter = Greeter(self.clock, lambda: self.told.append(self.clock.seconds()))

    def flood(self, seconds: float) -> None:
        """Have newcomers come every tenth of a second."""
        for _ in range(round(seconds / STEP_SECONDS)):
            self.greeter.greet()
            self.clock.advance(STEP_SECONDS)


def test_a_newcomer_is_told_at_once_and_others_with_it() -> None:
    """Whoever comes within a fifth of a second is told at the same time; nobody who comes later is forgotten."""
    stage = Stage()
    for _ in range(5):
        stage.greeter.greet()
    stage.clock.advance(GREETING_SECONDS)
    assert stage.told == [GREETING_SECONDS]
    stage.greeter.greet()
    stage.clock.advance(GREETING_SECONDS)
    assert stage.told == [GREETING_SECONDS, 2 * GREETING_SECONDS]


def test_a_flood_of_newcomers_has_little_told_however_long_it_lasts() -> None:
    """What may be told at once, and then one every three seconds."""
    stage = Stage()
    stage.flood(600)
    assert 200 <= len(stage.told) <= GREETINGS_AT_ONCE + 600 * GREETINGS_PER_SECOND
    pauses = [after - before for before, after in zip(stage.told[30:], stage.told[31:], strict=False)]
    assert min(pauses) >= 1 / GREETINGS_PER_SECOND - STEP_SECONDS and max(pauses) < 1 / GREETINGS_PER_SECOND + 1


def test_whoever_comes_in_a_flood_is_told_within_seconds() -> None:
    """Nobody is left out for good, and when it is over newcomers are told at once again."""
    stage = Stage()
    stage.flood(60)
    last = stage.clock.seconds()
    stage.greeter.greet()
    stage.clock.advance(1 / GREETINGS_PER_SECOND + GREETING_SECONDS)
    assert stage.told[-1] >= last
    stage.clock.advance(60)
    stage.greeter.greet()
    stage.clock.advance(GREETING_SECONDS)
    assert stage.told[-1] == stage.clock.seconds()


def test_after_its_end_nobody_is_told() -> None:
    """A daemon that stops sends nothing more."""
    stage = Stage()
    stage.greeter.greet()
    stage.greeter.stop()
    stage.clock.advance(60)
    assert stage.told == []
