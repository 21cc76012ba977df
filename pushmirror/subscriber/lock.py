"""The lock of a tree: an flock that every rsync of it inherits, and what a start does about one left over."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)


class TreeLock:
    """The lock in the file `path`. It is held until every process that inherited the descriptor has closed it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> int | None:
        """Return a descriptor that holds the lock and that child processes inherit, or None while somebody holds it.

        The caller closes it. It is never unlocked by hand: that would unlock it for an rsync that still lives, too.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.set_inheritable(descriptor, True)
        return descriptor

    def signal_holders(self, number: int) -> int:
        """Send a signal to every other process that has the lock's file open; returns to how many.

        They are rsyncs that a killed daemon left behind. The process is opened before it is looked at again, so that a
        number that was given to a new process meanwhile is never signalled.
        """
        count = 0
        for pid in self._holders():
            try:
                process = os.pidfd_open(pid)
            except OSError:
                continue
            try:
                if self._holds(pid):
                    signal.pidfd_send_signal(process, number)
                    count += 1
            except OSError:
                log.warning("the rsync process %d that holds %s cannot be ended", pid, self._path)
            finally:
                os.close(process)
        return count

    def _holders(self) -> Iterator[int]:
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and int(entry) != os.getpid() and self._holds(int(entry)):
                yield int(entry)

    def _holds(self, pid: int) -> bool:
        wanted = self._path.stat()
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return False
        for descriptor in descriptors:
            try:
                found = os.stat(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
        return False
