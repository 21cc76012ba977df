"""The wall clock is watched: whoever keeps times hears of a jump before anybody reads a time from after it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pushmirror.subscriber.clocks import LEAST_JUMP_MS, WallClock, read_clock_ms, read_steady_ms
from tests.subscriber.upstream import START_MS

HOUR = 3_600_000


class Machine:
    """A wall clock and a steady one, and the times that somebody keeps by the first."""

    def __init__(self) -> None:
        self.wall_ms, self.steady_ms = START_MS, 12_345
        self.due_ms = START_MS + HOUR
        self.clock = WallClock(lambda: self.wall_ms, lambda: self.steady_ms, self.move)

    def move(self, jump_ms: int) -> None:
        self.due_ms += jump_ms

    def sleep(self, duration_ms: int) -> None:
        self.wall_ms += duration_ms
        self.steady_ms += duration_ms


@given(st.lists(st.tuples(st.integers(0, HOUR), st.integers(-(10**11), 10**11)), max_size=9))
def test_what_is_due_in_an_hour_is_due_in_an_hour_however_the_clock_is_set(steps: list[tuple[int, int]]) -> None:
    """Forward or back, by any amount: only what passed in truth brings it nearer."""
    machine, passed_ms = Machine(), 0
    for duration_ms, jump_ms in steps:
        machine.sleep(duration_ms)
        passed_ms += duration_ms
        machine.wall_ms += jump_ms
        now_ms = machine.clock()
        assert now_ms == machine.wall_ms
        assert abs(machine.due_ms - now_ms - (HOUR - passed_ms)) < LEAST_JUMP_MS * len(steps)


def test_a_clock_that_is_only_regulated_moves_nothing() -> None:
    """A hundred small steps, as of a time service, add up to no jump."""
    machine = Machine()
    for _ in range(100):
        machine.sleep(1000)
        machine.wall_ms += 50
        machine.clock()
    assert machine.due_ms == START_MS + HOUR


def test_the_real_clocks_go_on_together() -> None:
    """The steady one counts milliseconds like the other."""
    jumps: list[int] = []
    clock = WallClock(read_clock_ms, read_steady_ms, jumps.append)
    before_ms = read_steady_ms()
    first_ms = clock()
    assert clock() >= first_ms
    assert read_steady_ms() >= before_ms
    assert jumps == []
