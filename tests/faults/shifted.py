"""Runs ``pushmirror`` with a wall clock of its own: ``python -m tests.faults.shifted OFFSET_FILE ARGUMENTS``.

The offset, in nanoseconds, is read from the file at every look at the clock, so that it can be changed under a running
daemon. The monotonic clock stays what it is, as it does when an operator sets the time of a machine.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

_OFFSET = struct.Struct("=q")
NS_PER_SECOND = 10**9


class ShiftedClock:
    """How far the clock of a process is off; `path` is what `shifted.py` reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        """Have the clock be off by so many `seconds` from now on."""
        # In place and in one write: the process has the file mapped.
        with self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.write(_OFFSET.pack(seconds * NS_PER_SECOND))

    def command(self) -> tuple[str, ...]:
        """Return what is put before the arguments of ``pushmirror``."""
        return (sys.executable, "-m", "tests.faults.shifted", str(self.path))


def shift(path: Path) -> None:
    """Replace the functions that tell this process the time of the wall clock."""
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    real_ns = time.time_ns

    def shifted_ns() -> int:
        (offset_ns,) = _OFFSET.unpack(offset[: _OFFSET.size])
        return real_ns() + int(offset_ns)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / NS_PER_SECOND


def main() -> None:
    """Shift the clock, then be ``pushmirror``: whatever is imported from here on sees the shifted one."""
    shift(Path(sys.argv[1]))
    del sys.argv[1]
    from pushmirror.cli import main as program

    program.main()


if __name__ == "__main__":
    main()
