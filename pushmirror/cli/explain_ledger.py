"""A look at a subscriber's ledger that changes nothing: it is copied away, and the copy is opened."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.records import TreeRecord

_NAME = "ledger.sqlite"
_FILES = (_NAME, f"{_NAME}-wal")
_ATTEMPTS = 10


@dataclass(frozen=True)
class Look:
    """The ledger (a copy), or why there is none."""

    ledger: Ledger | None
    missing: str | None = None

    def record(self, tree: str) -> TreeRecord | None:
        """Return the record of `tree`, None when nothing is known of it."""
        return None if self.ledger is None else self.ledger.trees().get(tree)


@contextlib.contextmanager
def look_at_ledger(state_dir: Path) -> Iterator[Look]:
    """Return what the ledger in `state_dir` says; nothing there is made or modified."""
    with tempfile.TemporaryDirectory(prefix="pushmirror-explain-") as folder:
        try:
            _copy(state_dir, Path(folder))
            ledger = Ledger(Path(folder) / _NAME)
        except FileNotFoundError:
            yield Look(None, f"there is no ledger in {state_dir} yet")
            return
        except (OSError, StateError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            yield Look(None, f"the ledger in {state_dir} cannot be read: {reason}")
            return
        try:
            yield Look(ledger)
        finally:
            ledger.close()


def _copy(state_dir: Path, folder: Path) -> None:
    """Copy the ledger; a daemon may be writing it, so that it is copied again until it stood still meanwhile."""
    for _ in range(_ATTEMPTS):
        before = _identify(state_dir)
        for name in _FILES:
            with contextlib.suppress(FileNotFoundError) if name != _NAME else contextlib.nullcontext():
                shutil.copyfile(state_dir / name, folder / name)
        if _identify(state_dir) == before:
            return
    raise StateError("it changes all the time; try again")


def _identify(state_dir: Path) -> list[tuple[int, int, int] | None]:
    return [_identify_file(state_dir / name) for name in _FILES]


def _identify_file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
