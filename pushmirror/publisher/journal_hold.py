"""Who has the journal open: everybody holds its folder together, and whoever replaces the file holds it alone.

SQLite finds the log of a database by its name. Whoever opened the old file and wrote into the log of the new one would
ruin both; so the file changes only while nobody has it open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.publisher.placing import give_to_owner_of

WANTED_NAME = "journal.wanted"
"""A file that somebody has locked who waits to hold the folder alone: newcomers let them go first. Of no other use."""

_RETRY_SECONDS = 0.02


class Hold:
    """A lock on the folder itself: nothing has to be made for it, not even on a full disk, and nothing is left over.

    Made as one that others may have as well. Raises StateError when that cannot be had within `patience_ms`.
    """

    def __init__(self, folder: Path, *, patience_ms: int) -> None:
        self._folder = folder
        self._patience_ms = patience_ms
        try:
            self._descriptor: int | None = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            advice = "run this as the user that the daemon runs as, and see that this user may write into it"
            raise StateError(f"{folder}: the folder cannot be opened ({error.strerror}); {advice}") from error
        self._wanted: int | None = None
        try:
            self._share()
        except BaseException:
            self.release()
            raise

    def make_exclusive(self) -> None:
        """Wait until nobody else holds the folder. Meanwhile somebody may have done what this is wanted for."""
        self._ask_newcomers_to_wait()
        self._take(fcntl.LOCK_EX, "other programs have the journal open; end them (the publisher too), and try again")

    def make_shared(self) -> None:
        """Let others in again."""
        self._let_newcomers_in()
        self._share()

    def release(self) -> None:
        """Give the folder back. Releasing twice is no error."""
        self._let_newcomers_in()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _share(self) -> None:
        self._take(fcntl.LOCK_SH, "the journal is being replaced or converted there; try again", self._is_wanted)

    def _take(self, operation: int, advice: str, is_kept_out: Callable[[], bool] = lambda: False) -> None:
        deadline = time.monotonic() + self._patience_ms / 1000
        while is_kept_out() or not self._try(operation):
            if time.monotonic() >= deadline:
                raise StateError(f"{self._folder}: {advice}")
            time.sleep(_RETRY_SECONDS)

    def _try(self, operation: int) -> bool:
        try:
            fcntl.flock(self._descriptor or 0, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _ask_newcomers_to_wait(self) -> None:
        # On a full disk it goes without: then it may take longer, and nothing else is different.
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._wanted = os.open(self._folder / WANTED_NAME, flags, 0o600)
            fcntl.flock(self._wanted, fcntl.LOCK_SH)
            give_to_owner_of(self._folder, self._wanted)

    def _let_newcomers_in(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._folder / WANTED_NAME)
            os.close(wanted)

    def _is_wanted(self) -> bool:
        """Tell whether somebody waits. A file that a killed process has left is locked by nobody."""
        try:
            descriptor = os.open(self._folder / WANTED_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
