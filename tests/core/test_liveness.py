"""Whether a publisher is alive, by its heartbeats, whatever either clock does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.liveness import Beat, Pulse, silence_pause_ms
from pushmirror.core.messages import LONGEST_HEARTBEAT_MS, format_heartbeat, parse_heartbeat
from pushmirror.core.model import Heartbeat
from pushmirror.core.wire import MAX_INTEGER
from pushmirror.errors import MalformedMessage

INTERVAL = 30_000
PATIENCE = 3 * INTERVAL
DAY = 86_400_000


@dataclass
class Wire:
    """A publisher and its listener: `now_ms` is our steady clock, `ahead_ms` what the publisher's is ahead of it."""

    now_ms: int = 500_000
    ahead_ms: int = 1_790_000_000_000
    counter: int = 0
    pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self.counter = self.now_ms + self.ahead_ms
        self.pulse = Pulse(self.now_ms)

    def make(self) -> Heartbeat:
        """Return what the publisher says now."""
        self.counter += 1
        return Heartbeat("p", self.counter, self.now_ms + self.ahead_ms, INTERVAL, {})

    def hear(self, heartbeat: Heartbeat) -> Beat:
        return self.pulse.take(heartbeat, self.now_ms)

    def beat(self, after_ms: int = INTERVAL) -> Beat:
        """Let time pass, and a heartbeat arrive at once."""
        self.now_ms += after_ms
        return self.hear(self.make())

    def restart(self, jump_ms: int = 0) -> None:
        """The publisher starts anew; its clock was set meanwhile."""
        self.ahead_ms += jump_ms
        self.counter = self.now_ms + self.ahead_ms

    def answer(self) -> None:
        """The publisher answers a question, in whole seconds."""
        self.pulse.confirm((self.now_ms + self.ahead_ms) // 1000 * 1000, self.now_ms)

    @property
    def state(self) -> str:
        return self.pulse.state(self.now_ms)


@pytest.fixture
def wire() -> Wire:
    """Has heard two heartbeats."""
    wire = Wire()
    assert [wire.beat(), wire.beat()] == [Beat.FRESH, Beat.FRESH]
    return wire


def test_silence_begins_after_three_intervals_and_ends_with_a_heartbeat(wire: Wire) -> None:
    """From the start, too, when nothing was ever heard."""
    assert [wire.state, Wire().state] == ["connected", "connecting"]
    wire.now_ms += PATIENCE
    assert wire.state == "connected"
    wire.now_ms += 1
    assert wire.state == "silent"
    assert wire.beat() is Beat.FRESH
    assert (wire.state, wire.pulse.heard_ago_ms(wire.now_ms)) == ("connected", 0)
    new = Wire()
    new.now_ms += PATIENCE + 1
    assert (new.state, new.pulse.heard_ago_ms(new.now_ms)) == ("silent", None)


def test_a_repeated_heartbeat_is_stale(wire: Wire) -> None:
    """The last one, and any before it."""
    last = wire.make()
    assert wire.hear(last) is Beat.FRESH
    wire.now_ms += 1000
    assert wire.hear(last) is Beat.STALE
    assert wire.hear(Heartbeat("p", last.counter - 1, last.at_ms - INTERVAL, INTERVAL, {})) is Beat.STALE
    assert wire.pulse.heard_ago_ms(wire.now_ms) == 1000


@pytest.mark.parametrize("passed", [10, 3])
def test_heartbeats_that_somebody_holds_up_are_no_sign_of_life(wire: Wire, passed: int) -> None:
    """Recorded ones that come one an interval, from a publisher that was cut off meanwhile."""
    recorded = []
    for _ in range(20):
        wire.now_ms += INTERVAL
        recorded.append(wire.make())
    wire.now_ms += passed * INTERVAL
    for heartbeat in recorded[: 17 - (passed == 3)]:
        assert wire.hear(heartbeat) is Beat.LATE
        wire.now_ms += INTERVAL
    assert wire.state == "silent"


def test_a_delay_that_creeps_in_is_noticed(wire: Wire) -> None:
    """Every heartbeat comes half an interval later than the one before."""
    found = []
    for number in range(1, 13):
        heartbeat = wire.make()
        wire.now_ms += INTERVAL // 2 * number
        found.append(wire.hear(heartbeat))
        wire.now_ms += INTERVAL - INTERVAL // 2 * number
    assert found[:5] == [Beat.FRESH] * 5
    assert set(found[7:]) == {Beat.LATE}


def test_an_ordinary_delay_is_none(wire: Wire) -> None:
    """A burst after a short interruption is fresh, as are the ones after it."""
    held = [wire.make()]
    wire.now_ms += INTERVAL
    held.append(wire.make())
    wire.now_ms += INTERVAL
    assert [wire.hear(heartbeat) for heartbeat in held] == [Beat.FRESH] * 2
    assert wire.beat() is Beat.FRESH


@pytest.mark.parametrize("jump_ms", [DAY, -DAY, 61_000, -61_000, 365 * DAY, -365 * DAY])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_publisher_whose_clock_was_set_is_heard_again(wire: Wire, jump_ms: int, restarts: bool) -> None:
    """At once while it runs on; after a restart with a clock that went back as soon as it has answered a question."""
    if restarts:
        wire.restart(jump_ms)
    else:
        wire.ahead_ms += jump_ms
    first = wire.beat()
    if restarts and jump_ms < 0:
        assert first is Beat.STALE
        wire.answer()
        first = wire.beat()
    assert first is Beat.FRESH
    assert [wire.beat() for _ in range(20)] == [Beat.FRESH] * 20


def test_a_small_step_back_during_an_outage_takes_an_answer(wire: Wire) -> None:
    """It looks like a delay: without an answer it stays one, with one it is over."""
    wire.now_ms += 10 * INTERVAL
    wire.ahead_ms -= 5 * INTERVAL
    assert [wire.beat(), wire.state] == [Beat.LATE, "silent"]
    wire.answer()
    assert [wire.beat(), wire.state] == [Beat.FRESH, "connected"]


def test_an_answer_does_not_make_recorded_heartbeats_fresh(wire: Wire) -> None:
    """It tells the publisher's clock, and by that they are old."""
    recorded = [wire.make() for _ in range(3)]
    wire.now_ms += DAY
    wire.restart(-2 * DAY)
    wire.answer()
    assert wire.hear(recorded[0]) is Beat.FRESH, "it comes from the future of this clock, which may have been set again"
    wire.answer()
    wire.now_ms += PATIENCE + 1
    assert wire.state == "silent"
    old = Heartbeat("p", 1, wire.now_ms + wire.ahead_ms - PATIENCE - 2000, INTERVAL, {})
    assert wire.hear(old) is Beat.LATE


@given(st.lists(st.integers(-(10**10), 10**10), max_size=6), st.integers(-300, 300))
def test_no_jump_of_the_publishers_clock_is_silence_for_ever(jumps: list[int], drift: int) -> None:
    """Whatever it was set to, restarted or not, and with any drift: an answer and a heartbeat end every silence."""
    wire = Wire(ahead_ms=10**12)
    for number, jump_ms in enumerate(jumps):
        wire.restart(jump_ms) if number % 2 else setattr(wire, "ahead_ms", wire.ahead_ms + jump_ms)
        if wire.beat() is not Beat.FRESH:
            wire.answer()
            assert wire.beat() is Beat.FRESH
        for _ in range(50):
            wire.ahead_ms += INTERVAL * drift // 1_000_000
            assert wire.beat() is Beat.FRESH


def test_a_doubtful_heartbeat_is_asked_about_once_a_minute(wire: Wire) -> None:
    """However many come."""
    asked = 0
    for _ in range(300):
        asked += wire.pulse.may_ask(wire.now_ms)
        wire.now_ms += 1000
    assert asked == 5


@given(st.integers(0, 100), st.integers(1, 10**6), st.floats(0, 1))
def test_a_silent_publisher_is_tried_patiently(tries: int, interval_ms: int, spread: float) -> None:
    """Soon at first, spread over an interval; then after a minute and later and later, to a quarter of an hour."""
    pause_ms = silence_pause_ms(tries, interval_ms, spread)
    if tries == 0:
        assert 0 <= pause_ms <= interval_ms
    else:
        assert 45_000 <= pause_ms <= 15 * 60_000 * 1.25
        assert pause_ms <= silence_pause_ms(tries + 1, interval_ms, spread)


def test_no_heartbeat_makes_a_publisher_look_alive_for_ever(wire: Wire) -> None:
    """Whoever steals its key can say of any time to come, and no other heartbeat counts, until it answers itself."""
    wire.hear(Heartbeat("p", MAX_INTEGER, MAX_INTEGER, LONGEST_HEARTBEAT_MS, {}))
    assert wire.beat() is Beat.STALE
    wire.answer()
    assert wire.beat() is Beat.FRESH
    wire.now_ms += PATIENCE + 1
    assert wire.state == "silent"


def test_without_a_bound_one_heartbeat_makes_a_publisher_look_alive_for_ever(wire: Wire) -> None:
    """No answer of the publisher mends that, and nobody notices when it is gone: so such a heartbeat is refused."""
    forged = Heartbeat("p", MAX_INTEGER, MAX_INTEGER, MAX_INTEGER, {})
    wire.hear(forged)
    wire.answer()
    assert wire.beat() is Beat.STALE
    wire.now_ms += 365 * DAY
    assert wire.state == "connected"
    with pytest.raises(MalformedMessage):
        parse_heartbeat(format_heartbeat(forged))
