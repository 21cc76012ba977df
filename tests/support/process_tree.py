"""The processes that a process has started, from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def descendants(process_id: int) -> list[int]:
    """Return the ids of all processes that stem from one, itself left out; parents come before their children."""
    found: list[int] = []
    waiting = [process_id]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def is_rsync(process_id: int) -> bool:
    """Tell whether a process runs rsync (and not: the daemon, about to start it)."""
    try:
        return Path(f"/proc/{process_id}/comm").read_text().strip() == "rsync"
    except OSError:
        return False


def rsyncs_below(process_id: int) -> list[int]:
    """Return the rsync processes that stem from one."""
    return [child for child in descendants(process_id) if is_rsync(child)]


def kill(process_id: int) -> None:
    """End a process at once; nothing when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)


def _children(process_id: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found
