"""What /proc tells of a running rsync: its processes, what they have read and written, and their memory."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessGroup:
    """The process `leader` with everything that it has started."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._moved_bytes: dict[int, int] = {}
        self.has_forked = False
        """An rsync that receives starts a second process when it has the list of what there is, and not before."""
        self.memory_bytes = 0
        """What the largest of the processes had in memory at the last look."""

    def look(self) -> None:
        """Take note of how the processes are now."""
        processes = self._list()
        self.has_forked = self.has_forked or len(processes) > 1
        self.memory_bytes = max(map(_read_memory_bytes, processes))
        for process in processes:
            self._moved_bytes[process] = max(self._moved_bytes.get(process, 0), _read_moved_bytes(process))

    @property
    def moved_bytes(self) -> int:
        """What has been read and written so far, also by processes that have ended; network and disk alike."""
        return sum(self._moved_bytes.values())

    def _list(self) -> list[int]:
        found = [self._leader]
        for process in found:
            try:
                children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            except OSError:
                continue
            found.extend(int(child) for child in children)
        return found


def _read_moved_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("rchar", "wchar")))


def _read_memory_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
