"""When a run is ended."""

from __future__ import annotations

import pytest

from pushmirror.core.watchdog import Limits, Sample, Watchdog

MB = 10**6
LIMITS = Limits(
    no_progress_s=60,
    wall_clock_s=600,
    output_bytes=2 * MB,
    beginning_s=100,
    beginning_bytes=5 * MB,
    least_bytes_per_s=100,
    memory_bytes=50 * MB,
    floor_bytes=1000,
)
HONEST = Sample(printed_bytes=10, moved_bytes=MB, memory_bytes=5 * MB, has_begun=True, free_bytes=MB)


def judge(limits: Limits, *samples: tuple[float, Sample]) -> str | None:
    """Return why a run that started at 1000 s is ended at the last of the samples, and at none before."""
    watchdog = Watchdog(limits, 1000)
    reasons = [watchdog.judge(sample, 1000 + passed_s) for passed_s, sample in samples]
    assert not any(reasons[:-1]), reasons
    return reasons[-1]


def moving(moved_bytes: int, *, has_begun: bool = True) -> Sample:
    """Return a sample that differs from the others in what was moved."""
    return Sample(moved_bytes=moved_bytes, has_begun=has_begun)


def test_an_honest_run_goes_on() -> None:
    """Within every limit."""
    assert judge(LIMITS, (0.5, HONEST), (50, HONEST), (59, HONEST)) is None


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample(printed_bytes=2 * MB + 1, has_begun=True), "rsync printed more than 2000000 bytes"),
        (Sample(moved_bytes=5 * MB + 1), "greeting and file list are larger than 5000000 bytes (`output_limit`)"),
        (Sample(memory_bytes=50 * MB + 1, has_begun=True), "more than 50000000 bytes of memory (`memory_limit`)"),
        (Sample(free_bytes=999, has_begun=True), "999 bytes free, below min_free (1000 bytes)"),
    ],
)
def test_a_size_that_is_too_large(sample: Sample, reason: str) -> None:
    """Each is told with its limit, and by the setting that moves it."""
    assert reason in (judge(LIMITS, (1, sample)) or "")


def test_what_is_moved_once_it_transfers_has_no_limit() -> None:
    """A tree may be as large as it is."""
    assert judge(LIMITS, (1, moving(10**15))) is None


def test_silence_ends_a_run() -> None:
    """Nothing printed and nothing moved, counted from the last that was."""
    assert judge(LIMITS, (1, moving(10**6)), (60, moving(10**6))) is None
    assert "no progress for 60 s" in (judge(LIMITS, (1, moving(10**6)), (61.5, moving(10**6))) or "")


def drip(bytes_per_s: int, seconds: int) -> list[tuple[float, Sample]]:
    """Return the samples of a run that moves so much each second."""
    return [(float(second), moving(bytes_per_s * second)) for second in range(1, seconds + 1)]


def test_a_byte_a_second_is_progress_for_ever_and_a_least_rate_ends_it() -> None:
    """Without the limit a server that gives a byte a second keeps the tree's job for as long as it likes."""
    without = Limits(no_progress_s=60, wall_clock_s=None, output_bytes=MB)
    assert judge(without, *drip(1, 100_000)) is None
    assert judge(LIMITS, *drip(1, 59)) is None
    assert judge(LIMITS, *drip(1, 60)) == "rsync moved only 60 bytes in 60 s, which is less than `least_rate`"


def test_a_slow_line_is_not_ended() -> None:
    """What counts is the average of a whole `no_progress`: pauses in it are made up for."""
    assert judge(LIMITS, *drip(100, 500)) is None
    pauses = [(float(second), moving(6000 * ((second + 29) // 60))) for second in range(1, 500)]
    assert judge(LIMITS, *pauses) is None


def test_a_run_that_becomes_slow_is_ended() -> None:
    """However much it moved before."""
    fast = [(float(second), moving(10**6 * second)) for second in range(1, 61)]
    slow = [(float(60 + second), moving(60 * 10**6 + second)) for second in range(1, 61)]
    assert "moved only 60 bytes" in (judge(LIMITS, *fast, *slow) or "")


def test_time_is_limited_before_the_list_has_come_and_for_lists_altogether() -> None:
    """A full sync has no limit once it transfers."""
    busy = [(float(second), moving(10**4 * second, has_begun=False)) for second in range(1, 101)]
    assert judge(LIMITS, *busy) is None
    assert judge(LIMITS, *busy, (101, moving(10**7))) is None
    assert "file list took longer than 100 s" in (judge(LIMITS, *busy, (101, moving(2 * 10**6, has_begun=False))) or "")
    assert "rsync took longer than 600 s" in (judge(LIMITS, *drip(10**4, 601)) or "")
    whole = Limits(no_progress_s=60, wall_clock_s=None, output_bytes=MB, beginning_s=100)
    assert judge(whole, *drip(10**4, 10_000)) is None
