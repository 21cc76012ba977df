"""The file of the journal: made in one step, opened so that a commit is durable, its faults explained.

Who may announce is decided by the folder: the file belongs to the folder's owner (when root makes it) and can be
written by that owner alone, or by the folder's group as well where the group may write into the folder.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pushmirror.errors import DamagedJournal, StateError
from pushmirror.publisher.epoch_note import read_epoch_note, write_epoch_note
from pushmirror.publisher.journal_schema import APPLICATION_ID, FORMAT, TABLES, create_tables
from pushmirror.publisher.placing import give_to_owner_of, sync_folder

_RESTART = (
    "start the publisher anew: it moves this file aside and begins a new journal with a new epoch, and every mirror "
    "compares its whole tree once"
)


def create_if_missing(path: Path, *, epoch: str, created_ms: int) -> None:
    """Make an empty journal at `path` if none was ever there. Of several processes that do this at once, one wins.

    Raises StateError when it cannot be made, or when there was one before: a new epoch is for the daemon to begin.
    """
    # The order of the questions matters: whoever makes a journal links it first, and only then writes anything else.
    leftover = is_left_over(path)
    noted = read_epoch_note(path) is not None
    if os.path.lexists(path):
        return
    if leftover or noted:
        what = f"its log {log_of(path).name} is left over" if leftover else "there was one before"
        raise StateError(f"{path}: the journal is missing ({what}); put it back, or {_RESTART}")
    create(path, epoch=epoch, created_ms=created_ms)


def create(path: Path, *, epoch: str, created_ms: int) -> None:
    """Make an empty journal unless there is one. Raises StateError when it cannot be made."""
    try:
        if _build(path, epoch, created_ms):
            write_epoch_note(path, epoch)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{path}: the journal cannot be made ({error}); {_explain(str(error), path)}") from error


def _build(path: Path, epoch: str, created_ms: int) -> bool:
    """Build the journal beside its place, complete, and link it there: nobody ever sees half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    _remove(beside)
    try:
        _touch(beside)
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            create_tables(connection, epoch, created_ms)
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
    finally:
        _remove(beside)
    sync_folder(path.parent)
    return True


def _touch(beside: Path) -> None:
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner_of(beside.parent, descriptor)
    finally:
        os.close(descriptor)


def _remove(beside: Path) -> None:
    for path in (beside, log_of(beside), index_of(beside)):
        path.unlink(missing_ok=True)


def log_of(path: Path) -> Path:
    """Return where SQLite writes before it writes into the file at `path`."""
    return path.with_name(path.name + "-wal")


def index_of(path: Path) -> Path:
    """Return where SQLite keeps what it knows of the log; that can be thrown away."""
    return path.with_name(path.name + "-shm")


def is_left_over(path: Path) -> bool:
    """Tell whether there is a log and no journal that it belongs to."""
    return os.path.lexists(log_of(path)) and not os.path.lexists(path)


def connect(path: Path, *, busy_ms: int) -> sqlite3.Connection:
    """Return a connection whose commits are on the disk when they return, and which waits `busy_ms` for other writers.

    Raises StateError when the file cannot be opened, DamagedJournal when it is no database.
    """
    with explained(path):
        # By its URI, so that a file that has gone meanwhile is not made anew and empty.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=busy_ms / 1000
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:  # passed on
            connection.close()
            raise
    return connection


def check_format(path: Path, connection: sqlite3.Connection) -> None:
    """Raise StateError for a file of another program or another format, DamagedJournal when a table is missing."""
    with explained(path):
        version = read_format(path, connection)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version > FORMAT:
        raise StateError(
            f"{path}: written by a newer pushmirror (format {version}, this program knows {FORMAT}); "
            "install that version again, or restore the journal that belongs to this one"
        )
    if not tables >= TABLES:
        raise DamagedJournal(f"{path}: the journal has lost a table ({', '.join(sorted(TABLES - tables))}); {_RESTART}")


def read_format(path: Path, connection: sqlite3.Connection) -> int:
    """Return the version of the tables. Raises StateError for the file of another program."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID:
        return int(version)
    if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        raise DamagedJournal(f"{path}: the journal is empty; {_RESTART}")
    raise StateError(f"{path}: this is not a journal of a publisher; name another state_dir, or move it away")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside the block into StateError that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StateError(f"{path}: {error}; {_explain(str(error), path)}") from error
    except sqlite3.DatabaseError as error:
        raise DamagedJournal(f"{path}: the journal is damaged ({error}); {_RESTART}") from error


def _explain(text: str, path: Path) -> str:
    if "locked" in text or "busy" in text:
        return "another program holds the journal; try again"
    if "full" in text or "No space" in text:
        return "nothing was announced; make room on that disk"
    if "I/O" in text:
        return "nothing was announced; look at that disk: is it full, or broken?"
    return _advice(path)


def _advice(path: Path) -> str:
    return f"run this as the user that the daemon runs as, and see that this user may write into {path.parent}"
