"""One scan of a tree at a time: a lock that the kernel gives back when the scan ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pushmirror.errors import TimedOut
from pushmirror.publisher.detect.state_files import open_for_owner

_RETRY_SECONDS = 0.1


@contextlib.contextmanager
def held_for_scan(path: Path, *, wait_seconds: float) -> Iterator[None]:
    """Hold the lock at `path` inside the block.

    Raises TimedOut when another scan has it and does not end within `wait_seconds`, StateError when it cannot be made.
    """
    descriptor = open_for_owner(path)
    try:
        _take(descriptor, path, time.monotonic() + wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise TimedOut(f"{path}: another scan of this tree is at work; it announces what it finds") from error
        time.sleep(_RETRY_SECONDS)
