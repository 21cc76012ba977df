"""What the daemon does with a journal that is damaged or gone: the file is kept, a new one begins a new epoch.

Nobody else does that. Whoever announces meanwhile is told, and gets no serial.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from pushmirror.core.epochs import is_epoch, next_created_ms
from pushmirror.core.messages import epoch_order
from pushmirror.errors import DamagedJournal, StateError
from pushmirror.publisher.epoch_note import read_epoch_note, write_epoch_note
from pushmirror.publisher.journal_check import find_damage
from pushmirror.publisher.journal_file import create, index_of, is_left_over, log_of
from pushmirror.publisher.journal_hold import Hold
from pushmirror.publisher.journal_opening import new_epoch, open_journal
from pushmirror.publisher.placing import sync_folder

_log = logging.getLogger(__name__)

PATIENCE_MS = 30_000
"""How long a ``publish`` that has the old file open is waited for."""


def recover(path: Path, *, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes] = os.urandom) -> None:
    """See that there is a sound journal at `path`, or that none was ever there. Only for the one daemon.

    A damaged one, and what is left over of one that is gone, is moved aside and never deleted, and a new one is made.
    Its epoch is younger than every one that can still be read. Raises StateError when that cannot be done, and for a
    file that is not ours to move: of a newer format, of another program, or one that may not be opened.
    """
    damage = _find_damage(path, clock_ms, random_bytes)
    if damage is None:
        return
    hold = Hold(path.parent, patience_ms=PATIENCE_MS)
    try:
        hold.make_exclusive()
        created_ms = next_created_ms(clock_ms(), _earlier_epochs(path))
        aside = _move_aside(path, clock_ms())
        epoch = new_epoch(created_ms, random_bytes)
        create(path, epoch=epoch, created_ms=created_ms)
    finally:
        hold.release()
    kept = f"what was there is kept as {aside}" if aside else "nothing of it is left"
    _log.error(
        "%s: %s; %s. A new journal begins epoch %s: every subscriber makes a full sync of every tree",
        path, damage, kept, epoch,
    )  # fmt: skip


def _find_damage(path: Path, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes]) -> str | None:
    noted = read_epoch_note(path)
    if not os.path.lexists(path):
        if is_left_over(path):
            return "the journal is missing, and its log is left over"
        return None if noted is None else "the journal is missing"
    try:
        hold, connection = open_journal(path, clock_ms=clock_ms, random_bytes=random_bytes, busy_ms=PATIENCE_MS)
    except DamagedJournal as error:
        return _shorten(error)
    try:
        return find_damage(path, connection) or _find_age(path, connection, noted)
    except DamagedJournal as error:
        return _shorten(error)
    finally:
        connection.close()
        hold.release()


def _shorten(error: DamagedJournal) -> str:
    return f"the journal is damaged ({error.__cause__ or error})"


def _find_age(path: Path, connection: sqlite3.Connection, noted: str | None) -> str | None:
    """Hold the journal against the note of the newest epoch: one that is older is a copy from before that."""
    (epoch,) = connection.execute("SELECT epoch FROM epochs ORDER BY number DESC LIMIT 1").fetchone()
    if noted is not None and epoch_order(noted) > epoch_order(epoch):
        return f"the journal is a copy from before epoch {noted}"
    if noted != epoch:
        try:
            write_epoch_note(path, epoch)
        except OSError as error:
            raise StateError(
                f"{path}: its epoch cannot be noted beside it ({error}); see who may write there"
            ) from error
    return None


def _earlier_epochs(path: Path) -> tuple[str, ...]:
    """Return the epochs that can still be read, in the note or in the damaged journal, of either format."""
    found = [read_epoch_note(path)]
    for query in ("SELECT epoch FROM epochs", "SELECT epoch FROM meta"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
        ):
            found += [epoch for (epoch,) in connection.execute(query)]
    return tuple(epoch for epoch in found if isinstance(epoch, str) and is_epoch(epoch))


def _move_aside(path: Path, now_ms: int) -> Path | None:
    """Move what there is to a name of its own, and return that; None when there is nothing.

    The file goes before its log: were it the other way round, a crash in between would leave a journal that looks
    sound and has lost its newest updates.
    """
    while any(os.path.lexists(name) for name in _parts(_aside(path, now_ms))):
        now_ms += 1
    aside = _aside(path, now_ms)
    moved = [os.path.lexists(part) for part in _parts(path)]
    try:
        for part, target in zip(_parts(path), _parts(aside), strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.rename(part, target)
        sync_folder(path.parent)
    except OSError as error:
        advice = "let the folder belong to the user that the daemon runs as"
        raise StateError(f"{path}: the damaged journal cannot be moved aside ({error}); {advice}") from error
    return aside if any(moved) else None


def _aside(path: Path, now_ms: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{now_ms}")


def _parts(path: Path) -> tuple[Path, ...]:
    return path, log_of(path), index_of(path)
