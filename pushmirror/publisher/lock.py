"""One publisher per journal: a lock that the kernel gives back when the daemon ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pushmirror.errors import StateError

LOCK_NAME = "publisher.lock"


class DaemonLock:
    """The lock of the daemon on its `state_dir`. Raises StateError when made while another daemon has it."""

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / LOCK_NAME
        try:
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            advice = f"let {state_dir} belong to the user that the daemon runs as"
            raise StateError(f"{path}: the lock cannot be made ({error.strerror}); {advice}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            advice = "stop it first, or give this one a state_dir of its own"
            raise StateError(f"{state_dir}: another publisher is running with this journal; {advice}") from error

    def release(self) -> None:
        """Give the lock back. Releasing twice is no error."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
