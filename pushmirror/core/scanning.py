"""What a scan of a tree decides: which directories are read again, what counts as a change, and how much is due.

A directory is told from what the index knows of it by its inode and its ctime alone, compared for equality. No clock
takes part in that, so that a step of the clock hides nothing; one is asked only whether a directory had come to rest
when it was read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from pushmirror.core.paths import RESERVED_PARTS

SETTLING_NS = 2 * 10**9
"""Two changes within one tick of a file system's clock leave the same ctime: 4 to 10 ms on local disks, a second or
two on old ones and on some servers."""

SLICE_INTERVAL_MS = 5 * 60_000
"""How often a part of the thorough scan is done, unless its period is so short that this would be in few parts."""

LEAST_SLICES = 12

# rsync(1) writes `.NAME.XXXXXX` beside NAME, closed to group and others until it is complete.
_TEMPORARY = re.compile(rb"\..+\.[A-Za-z0-9]{6}", re.DOTALL)
_OPEN_TO_OTHERS = 0o077


EntryRow = tuple[int, int, int, int, "bytes | None"]
"""One file or symlink as the index knows it, all that a change would move: type and permissions as `stat` has them in
one number, size in bytes, mtime in nanoseconds, inode, and where a symlink leads (None for a file).

A plain tuple, because a scan compares one for every entry that it looks at."""


class Stand(NamedTuple):
    """One directory as it stood when it was read. `mode` and `mtime_ns` are what mirrors take over."""

    inode: int
    ctime_ns: int
    mtime_ns: int
    mode: int


@dataclass(frozen=True)
class Scope:
    """What a scan looks at. The parts add up; new directories that are found are always read with all below them."""

    known: bool = False
    """Every known directory is looked at, and read when it changed: sees renames, links and unlinks."""
    thorough: bool = False
    """Every directory is read and every entry looked at: sees edits in place and changed attributes too."""
    directories: frozenset[bytes] = frozenset()
    """These are read, whatever they look like."""
    slices: int = 0
    """That part of the thorough scan is done which comes next, when the whole is done in so many; 0: none."""

    def __bool__(self) -> bool:
        return self.known or self.thorough or bool(self.directories) or self.slices > 0

    def __or__(self, other: Scope) -> Scope:
        """Return the scope that covers both."""
        return Scope(
            known=self.known or other.known,
            thorough=self.thorough or other.thorough,
            directories=self.directories | other.directories,
            slices=min(filter(None, (self.slices, other.slices)), default=0),
        )


def needs_reading(known: Stand, settled: bool, seen: Stand) -> bool:
    """Tell whether a directory may have other names in it than when it was read.

    `settled` is what `is_settled` said then.
    """
    return not settled or (known.inode, known.ctime_ns) != (seen.inode, seen.ctime_ns)


def is_settled(newest_ctime_ns: int, read_ns: int) -> bool:
    """Tell whether a later change of a directory that was read at `read_ns` is certain to show in its ctime.

    `newest_ctime_ns` is the newest of the directory's and its entries' ctimes: a file that is still being written
    keeps its directory unsettled. A ctime in the future, after a clock was set back, is not settled either.
    """
    return newest_ctime_ns < read_ns - SETTLING_NS


def has_other_attributes(known: Stand, seen: Stand) -> bool:
    """Tell whether a mirror of the directory has to get another mode or time."""
    return (known.mtime_ns, known.mode) != (seen.mtime_ns, seen.mode)


def is_own_name(name: bytes) -> bool:
    """Tell whether a name is reserved for folders that hold what is not in place yet."""
    return name in RESERVED_PARTS


def looks_temporary(name: bytes, permissions: int, *, young: bool) -> bool:
    """Tell whether a file of this name is one that an rsync is writing.

    Six letters may end an honest name too, so only a file that is closed to others counts, or one so `young` (not
    settled) that its rename may be still to come.
    """
    return _TEMPORARY.fullmatch(name) is not None and (young or not permissions & _OPEN_TO_OTHERS)


def slice_interval_ms(period_ms: int) -> int:
    """Return how often a slice is due when the whole tree is to be seen thoroughly once in `period_ms`."""
    return max(1, min(SLICE_INTERVAL_MS, period_ms // LEAST_SLICES))


def count_slices(period_ms: int) -> int:
    """Return in how many slices a thorough scan with that period is done."""
    return max(1, period_ms // slice_interval_ms(period_ms))


def slice_entries(total: int, slices: int) -> int:
    """Return how many entries one slice has at least, so that `slices` of them cover `total`."""
    return max(1, -(-total // max(1, slices)))
