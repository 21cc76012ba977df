"""What a scan decides, without a disk."""

from __future__ import annotations

import pytest

from pushmirror.core.scanning import (
    SETTLING_NS,
    SLICE_INTERVAL_MS,
    Scope,
    Stand,
    count_slices,
    has_other_attributes,
    is_settled,
    looks_temporary,
    needs_reading,
    slice_entries,
    slice_interval_ms,
)

STAND = Stand(inode=7, ctime_ns=10**18, mtime_ns=10**17, mode=0o755)
MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (STAND, False),
        (STAND._replace(ctime_ns=STAND.ctime_ns + 1), True),
        (STAND._replace(ctime_ns=STAND.ctime_ns - 1), True),  # the clock was set back
        (STAND._replace(inode=8), True),  # another directory was moved here
        (STAND._replace(mtime_ns=1), False),  # its ctime would have moved as well
    ],
)
def test_a_directory_is_read_when_it_is_another_one_than_before(seen: Stand, expected: bool) -> None:
    """Whatever way the difference goes; the clock has no part in it."""
    assert needs_reading(STAND, True, seen) is expected


def test_an_unsettled_directory_is_always_read() -> None:
    """A change may have come within the tick of the clock in which it was read."""
    assert needs_reading(STAND, False, STAND)


@pytest.mark.parametrize(
    ("age_ns", "expected"), [(SETTLING_NS + 1, True), (SETTLING_NS, False), (0, False), (-1, False)]
)
def test_a_directory_settles_when_its_last_change_is_old_enough(age_ns: int, expected: bool) -> None:
    """By the clock of the moment in which it was read; a change in the future is not old."""
    assert is_settled(10**18 - age_ns, 10**18) is expected


def test_attributes_are_mode_and_time() -> None:
    """What a mirror sets on a directory, and nothing else about it."""
    assert has_other_attributes(STAND, STAND._replace(mode=0o700))
    assert has_other_attributes(STAND, STAND._replace(mtime_ns=1))
    assert not has_other_attributes(STAND, STAND._replace(inode=1, ctime_ns=1))


@pytest.mark.parametrize(
    ("name", "permissions", "young", "expected"),
    [
        (b".package.deb.Ab3xYz", 0o600, False, True),
        (b".package.deb.Ab3xYz", 0o700, False, True),
        (b".package.deb.Ab3xYz", 0o644, True, True),
        (b".package.deb.Ab3xYz", 0o644, False, False),
        (b".htaccess.backup", 0o644, False, False),
        (b"package.deb.Ab3xYz", 0o600, False, False),
        (b".package.deb.Ab3xY", 0o600, False, False),
        (b".package.deb.Ab3xYzz", 0o600, False, False),
        (b".package.deb.Ab-xYz", 0o600, False, False),
        (b".new\nline.Ab3xYz", 0o600, False, True),
    ],
)
def test_rsyncs_temporary_files_are_known_by_name_and_rights(
    name: bytes, permissions: int, young: bool, expected: bool
) -> None:
    """A dot, the name, a dot and six letters or digits; closed to others, or of this moment."""
    assert looks_temporary(name, permissions, young=young) is expected


def test_scopes_add_up() -> None:
    """What either asks for is in the sum; of two slices the larger is done."""
    both = Scope(known=True, slices=12) | Scope(directories=frozenset({b"a"}), slices=4)
    assert both == Scope(known=True, directories=frozenset({b"a"}), slices=4)
    assert Scope(thorough=True) | Scope() == Scope(thorough=True)
    assert Scope(slices=3) | Scope() == Scope(slices=3)
    assert not Scope() and Scope(slices=1)


@pytest.mark.parametrize(
    ("period_ms", "interval_ms", "slices"),
    [(24 * 60 * MINUTE_MS, SLICE_INTERVAL_MS, 288), (60 * MINUTE_MS, SLICE_INTERVAL_MS, 12), (MINUTE_MS, 5_000, 12)],
)
def test_a_thorough_scan_is_spread_over_its_period(period_ms: int, interval_ms: int, slices: int) -> None:
    """Every five minutes a slice, or a twelfth of a period that is shorter than an hour."""
    assert (slice_interval_ms(period_ms), count_slices(period_ms)) == (interval_ms, slices)


@pytest.mark.parametrize("total", [0, 1, 7, 288, 1_000_001])
def test_slices_cover_everything(total: int) -> None:
    """So many slices have at least as many entries as there are, and none is empty."""
    assert slice_entries(total, 288) * 288 >= total
    assert slice_entries(total, 288) >= 1
