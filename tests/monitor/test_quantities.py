"""Quantities as people read them."""

from __future__ import annotations

import pytest

from pushmirror.monitor.quantities import format_bytes, format_count, format_duration_ms, format_time


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (2_100_000, "2.1 MB"),
        (10**18, "1.0 EB"),
        (2**63 - 1, "9.2 EB"),
        (None, "-"),
        (-1, "-"),
        (True, "-"),
        ("x", "-"),
    ],
)
def test_bytes(count: object, text: str) -> None:
    """Bytes have a decimal unit; what is no number of bytes is a dash."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (3_600_000, "1 h"),
        (7_500_000, "2 h 5 min"),
        (187_200_000, "2 d 4 h"),
        (None, "-"),
    ],
)
def test_durations(duration_ms: object, text: str) -> None:
    """Durations have one or two units."""
    assert format_duration_ms(duration_ms) == text


def test_counts() -> None:
    """A noun agrees with its count."""
    assert [format_count(1, "file"), format_count(1200, "file")] == ["1 file", "1,200 files"]
    assert format_count(0, "directory", "directories") == "0 directories"
    assert format_count("many", "file") == "- files"


def test_times() -> None:
    """A time has milliseconds; one that no calendar knows is a dash."""
    assert format_time(1_790_000_000_123).endswith(".123")
    assert format_time(2**63 - 1) == "-"
