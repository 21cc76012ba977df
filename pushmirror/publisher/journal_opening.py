"""The way into a journal: the folder is held, the file is there, its format is ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from pushmirror.errors import StateError
from pushmirror.publisher.journal_file import check_format, connect, create_if_missing, explained, read_format
from pushmirror.publisher.journal_hold import Hold
from pushmirror.publisher.journal_schema import FORMAT, migrate_tables
from pushmirror.publisher.placing import give_to_owner_of, sync_folder


def new_epoch(created_ms: int, random_bytes: Callable[[int], bytes]) -> str:
    """Return an epoch that nobody has had before."""
    return f"{created_ms}-{random_bytes(8).hex()}"


def open_journal(
    path: Path, *, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes], busy_ms: int
) -> tuple[Hold, sqlite3.Connection]:
    """Return a connection to the journal at `path`, which is made when none was ever there and converted when it is of
    an earlier format, and the hold under which it stays where it is. Raises StateError."""
    hold = Hold(path.parent, patience_ms=busy_ms)
    try:
        created_ms = clock_ms()
        create_if_missing(path, epoch=new_epoch(created_ms, random_bytes), created_ms=created_ms)
        connection = connect(path, busy_ms=busy_ms)
        if _version(path, connection) < FORMAT:
            connection.close()
            hold.make_exclusive()
            _migrate(path, busy_ms)
            hold.make_shared()
            connection = connect(path, busy_ms=busy_ms)
    except BaseException:
        hold.release()
        raise
    try:
        check_format(path, connection)
    except BaseException:
        connection.close()
        hold.release()
        raise
    return hold, connection


def _version(path: Path, connection: sqlite3.Connection) -> int:
    try:
        with explained(path):
            return read_format(path, connection)
    except BaseException:
        connection.close()
        raise


def copy_of(path: Path, version: int) -> Path:
    """Return where a journal of format `version` is kept when it has been converted."""
    return path.with_name(f"{path.name}.format-{version}")


def _migrate(path: Path, busy_ms: int) -> None:
    """Convert the journal, unless somebody has done so meanwhile. Each step happens as a whole or not at all, and the
    first one only when a copy is on the disk."""
    with explained(path), contextlib.closing(connect(path, busy_ms=busy_ms)) as connection:
        version = read_format(path, connection)
        if version < FORMAT:
            _copy(path, connection, copy_of(path, version))
            migrate_tables(connection, version)


def _copy(path: Path, connection: sqlite3.Connection, target: Path) -> None:
    """Copy the database; one that an earlier attempt has left there gives way."""
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(beside)) as copy:
            connection.backup(copy)
        descriptor = os.open(beside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            give_to_owner_of(target.parent, descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, target)
        sync_folder(target.parent)
    except OSError as error:
        advice = "make room, or let the folder belong to the user that the daemon runs as"
        raise StateError(f"{path}: it cannot be copied before it is converted ({error}); {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
