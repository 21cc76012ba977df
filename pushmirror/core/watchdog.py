"""When a running rsync is ended: by its progress, its time, what it prints, what it receives, and its memory.

A server may be silent, talk without end, or give a byte a second: each of that meets one of these limits. Seconds are
those of any clock that only counts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """When a run is ended; None: never."""

    no_progress_s: float
    wall_clock_s: float | None
    output_bytes: int
    """What it may print."""
    beginning_s: float | None = None
    """How long the upstream's greeting and file list may take."""
    beginning_bytes: int | None = None
    """What may be moved for them."""
    least_bytes_per_s: int = 0
    """What it has to move on the average of each `no_progress_s`."""
    memory_bytes: int | None = None
    """How much memory each of its processes may take."""
    floor_bytes: int = 0
    """What has to stay free on the mirror's disk."""


@dataclass(frozen=True)
class Sample:
    """What a run has come to."""

    printed_bytes: int = 0
    moved_bytes: int = 0
    """What its processes have read and written, network and disk alike; it never becomes less."""
    memory_bytes: int = 0
    """What the largest of its processes takes up."""
    has_begun: bool = False
    """The upstream's list has come, so that files can be compared and transferred."""
    free_bytes: int | None = None
    """What is free on the mirror's disk; None when nobody asked."""


class Watchdog:
    """Judges the samples of one run that started at `started_s`."""

    def __init__(self, limits: Limits, started_s: float) -> None:
        self._limits = limits
        self._started_s = started_s
        self._progress: tuple[int, int] | None = None
        self._progress_s = started_s
        self._window_s = started_s
        self._window_bytes = 0

    def quiet_s(self, now_s: float) -> float:
        """Return for how long nothing has moved."""
        return now_s - self._progress_s

    def judge(self, sample: Sample, now_s: float) -> str | None:
        """Return why the run is to be ended, in words for the operator; None as long as it may go on."""
        progress = (sample.printed_bytes, sample.moved_bytes)
        if progress != self._progress:
            self._progress, self._progress_s = progress, now_s
        moving = self._judge_progress(sample, now_s)
        return self.judge_room(sample) or moving or self._judge_time(sample, now_s) or self._judge_sizes(sample)

    def judge_room(self, sample: Sample) -> str | None:
        """Return why the run is to be ended because it fills the mirror's disk; None as long as it does not."""
        floor_bytes = self._limits.floor_bytes
        if sample.free_bytes is None or sample.free_bytes >= floor_bytes:
            return None
        return f"the mirror's disk has {sample.free_bytes} bytes free, below min_free ({floor_bytes} bytes)"

    def _judge_progress(self, sample: Sample, now_s: float) -> str | None:
        limits = self._limits
        if self.quiet_s(now_s) > limits.no_progress_s:
            return f"rsync made no progress for {limits.no_progress_s:.0f} s"
        passed_s = now_s - self._window_s
        if passed_s < limits.no_progress_s:
            return None
        moved = sample.moved_bytes - self._window_bytes
        self._window_s, self._window_bytes = now_s, sample.moved_bytes
        if moved < limits.least_bytes_per_s * passed_s:
            return f"rsync moved only {moved} bytes in {passed_s:.0f} s, which is less than `least_rate`"
        return None

    def _judge_time(self, sample: Sample, now_s: float) -> str | None:
        limits, passed_s = self._limits, now_s - self._started_s
        if limits.beginning_s is not None and not sample.has_begun and passed_s > limits.beginning_s:
            return f"the upstream's greeting and file list took longer than {limits.beginning_s:.0f} s"
        if limits.wall_clock_s is not None and passed_s > limits.wall_clock_s:
            return f"rsync took longer than {limits.wall_clock_s:.0f} s"
        return None

    def _judge_sizes(self, sample: Sample) -> str | None:
        limits = self._limits
        if sample.printed_bytes > limits.output_bytes:
            return f"rsync printed more than {limits.output_bytes} bytes"
        allowed = limits.beginning_bytes
        if allowed is not None and not sample.has_begun and sample.moved_bytes > allowed:
            return f"the upstream's greeting and file list are larger than {allowed} bytes (`output_limit`)"
        if limits.memory_bytes is not None and sample.memory_bytes > limits.memory_bytes:
            return f"rsync took more than {limits.memory_bytes} bytes of memory (`memory_limit`)"
        return None
