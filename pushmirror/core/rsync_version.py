"""Which faults an rsync of some version is known to have, as far as they concern a mirror.

A distribution may mend faults and leave the number as it is. The protocol tells of one such case: it became 32 with
the mending of January 2025, also in what distributions sent out under older numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_VERSION = re.compile(
    rb"rsync +version v?([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(\S*) +protocol version ([0-9]{1,3})\b"
)
_MENDED_PROTOCOL = 32
_LONG_TERM = (3, 2, 8)
"""The line of 3.2 that is looked after: from here on it has what later versions have mended."""

Number = tuple[int, int, int]


@dataclass(frozen=True)
class RsyncVersion:
    """What an rsync says of itself: its `number`, perhaps with a `suffix`, and the newest protocol that it speaks."""

    number: Number
    protocol: int
    suffix: str = ""

    def __str__(self) -> str:
        return ".".join(map(str, self.number)) + self.suffix

    @property
    def _is_looked_after(self) -> bool:
        return self.number[:2] == _LONG_TERM[:2] and self.number >= _LONG_TERM

    def precedes(self, *number: int) -> bool:
        """Tell whether this is older than `number`, and not of an older line in which the same was mended."""
        return self.number < number and not self._is_looked_after


@dataclass(frozen=True)
class _Fault:
    text: str
    concerns: Callable[[RsyncVersion], bool]


_FAULTS = (
    _Fault("it is too old to be used: 3.1.3 is the oldest that can be", lambda found: found.number < (3, 1, 3)),
    _Fault(
        "a server can send files that were not asked for (CVE-2022-29154)",
        lambda found: found.number < (3, 2, 5),
    ),
    _Fault(
        "a server can run code here, read files, and write outside the tree (CVE-2024-12084 to -12088, CVE-2024-12747)",
        lambda found: found.precedes(3, 4, 0) and found.protocol < _MENDED_PROTOCOL,
    ),
    _Fault("hardlinks break (-H)", lambda found: found.number == (3, 4, 0)),
    _Fault(
        "a server can end it, or read its memory (CVE-2026-43618, CVE-2026-43620)",
        lambda found: found.precedes(3, 4, 3),
    ),
    _Fault(
        "deletions fail (--delete-missing-args: invalid file mode 00)",
        lambda found: found.number == (3, 4, 3),
    ),
    _Fault(
        "a link in the tree can lead writes out of it, and a server can write into its memory "
        "(CVE-2026-53785, -53795, -70458)",
        lambda found: found.precedes(3, 5, 0),
    ),
    _Fault(
        "a link in the tree can be taken for the file that it leads to (--link-dest), and it may hang when it cannot "
        "make way for a file, which is noticed and ended here",
        lambda found: found.number == (3, 5, 0),
    ),
)


def parse_version(output: bytes) -> RsyncVersion | None:
    """Return what ``rsync --version`` printed, or None when no rsync that is known speaks like that."""
    match = _VERSION.match(output)
    if match is None:
        return None
    major, minor, patch, protocol = (int(match[group]) for group in (1, 2, 3, 5))
    return RsyncVersion((major, minor, patch), protocol, match[4][:20].decode("ascii", "backslashreplace"))


def list_faults(version: RsyncVersion | None) -> tuple[str, ...]:
    """Return the known faults of an rsync, the worst first; None is one whose version could not be found out."""
    if version is None:
        return ("the version of rsync cannot be told: install 3.5.1 or later, or name it in `rsync:`",)
    return tuple(fault.text for fault in _FAULTS if fault.concerns(version))


def describe_faults(version: RsyncVersion | None) -> str | None:
    """Return the known faults in one line with what to do about them; None when there are none."""
    faults = list_faults(version)
    if not faults:
        return None
    if version is None:
        return faults[0]
    remedy = "install 3.5.1 or later, unless your distribution has mended this under the same number"
    return f"rsync {version} has known faults: {'; '.join(faults)}; {remedy}"
