"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.settings.units import (
    BYTES,
    MILLISECONDS,
    format_duration,
    format_size,
    parse_duration_ms,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("500ms", 500), ("2s", 2_000), ("10m", 600_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0), (0, 0),
     ("0", 0), (" 3 s ", 3_000)],
)  # fmt: skip
def test_a_duration_is_read_in_its_unit(text: object, duration_ms: int) -> None:
    """Each unit has its factor, and zero needs none."""
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("25MB", 25_000_000), ("64KiB", 65_536), ("1GB", 10**9), ("1GiB", 2**30), ("500kB", 500_000), ("500KB", 500_000),
     ("7B", 7), ("2TB", 2 * 10**12), (0, 0)],
)  # fmt: skip
def test_a_size_is_read_in_its_unit(text: object, size_bytes: int) -> None:
    """Decimal and binary units differ, and zero needs none."""
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "advice"),
    [(30, "30 has no unit"), ("30", "30 has no unit"), ("2 weeks", "'weeks' is not a unit of duration"),
     ("1.5h", "whole number"), ("-2s", "whole number"), ("", "whole number"), (True, "must be a duration"),
     (2.5, "must be a duration"), (None, "must be a duration"), ([], "must be a duration"), ("9" * 400 + "s", "whole"),
     ("٣s", "whole number"), ("2S", "'S' is not a unit"), ("2s\n\n3s", "whole number")],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_advice(text: object, advice: str) -> None:
    """A number without a unit, a strange unit or anything else is refused in words that help."""
    with pytest.raises(ValueError, match=advice) as caught:
        parse_duration_ms(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "advice"),
    [(25, "25 has no unit"), ("25Mb", "'Mb' is not a unit of size"), ("25m", "'m' is not a unit"), ("big", "whole")],
)
def test_what_is_no_size_is_refused_with_advice(text: object, advice: str) -> None:
    """Bits are not bytes, and a size needs a unit."""
    with pytest.raises(ValueError, match=advice):
        parse_size_bytes(text)


@given(st.integers(0, 10**12), st.sampled_from(sorted(MILLISECONDS)))
def test_a_printed_duration_is_read_as_the_same(number: int, unit: str) -> None:
    """Printing and reading a duration loses nothing."""
    duration_ms = parse_duration_ms(f"{number}{unit}")
    assert parse_duration_ms(format_duration(duration_ms)) == duration_ms


@given(st.integers(0, 10**12), st.sampled_from(sorted(BYTES)))
def test_a_printed_size_is_read_as_the_same(number: int, unit: str) -> None:
    """Printing and reading a size loses nothing."""
    size_bytes = parse_size_bytes(f"{number}{unit}")
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@pytest.mark.parametrize(("duration_ms", "text"), [(86_400_000, "1d"), (90_000, "90s"), (0, "0s"), (1_500, "1500ms")])
def test_a_duration_is_printed_in_the_largest_whole_unit(duration_ms: int, text: str) -> None:
    """What is printed is short and exact."""
    assert format_duration(duration_ms) == text
