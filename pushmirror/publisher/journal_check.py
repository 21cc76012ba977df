"""Whether a journal is sound: what SQLite can tell of its file, and what must hold of its content."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pushmirror.core.epochs import is_epoch
from pushmirror.core.wire import digest
from pushmirror.publisher.journal_file import explained

_log = logging.getLogger(__name__)

CHECK_SECONDS = 20.0
"""A journal that is too large to be read within this time is checked in part: a publisher has to come up."""
_LOOK_STEPS = 20_000
"""How many of its steps SQLite does between two looks at the clock; a millisecond or so."""

_EPOCH = "(SELECT max(number) FROM epochs)"
_WITHOUT_HEAD = f"""
SELECT tree FROM updates WHERE epoch = {_EPOCH} AND tree NOT IN (SELECT tree FROM heads) LIMIT 1
"""  # noqa: S608  # constants
_HEADS = f"""
SELECT heads.tree, heads.serial, heads.digest, updates.digest, updates.signed FROM heads
LEFT JOIN updates ON updates.epoch = {_EPOCH} AND updates.tree = heads.tree AND updates.serial = heads.serial
"""  # noqa: S608  # constants
_EXTENTS = f"""
SELECT tree, count(*), min(serial), max(serial) FROM updates WHERE epoch = {_EPOCH} GROUP BY tree
"""  # noqa: S608  # constants
_NAMED = "SELECT tree, serial FROM updates WHERE position = ?"
# By two indexes in the same order, without a look at the updates themselves.
_WITHOUT_LIST = """
SELECT position FROM updates INDEXED BY by_list WHERE list_digest IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM lists WHERE digest = list_digest AND part = 0
) LIMIT 1
"""


def find_damage(path: Path, connection: sqlite3.Connection) -> str | None:
    """Return what is wrong with the journal; None when nothing was found in CHECK_SECONDS.

    Raises DamagedJournal where SQLite cannot go on, and StateError when the file cannot be read at all.
    """
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _LOOK_STEPS)
    try:
        with explained(path):
            return _find_first(path, connection)
    finally:
        connection.set_progress_handler(None, 0)


def _find_first(path: Path, connection: sqlite3.Connection) -> str | None:
    try:
        return next((f"the journal is damaged ({fault})" for fault in _find_faults(connection)), None)
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        _log.warning("%s: too large to be checked in %g seconds; the rest was left out", path, CHECK_SECONDS)
        return None


def _find_faults(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong, the cheapest checks first."""
    query = f"SELECT epoch FROM epochs WHERE number = {_EPOCH}"  # noqa: S608  # a constant
    (epoch,) = connection.execute(query).fetchone() or ("",)
    if not is_epoch(str(epoch)):
        yield "its epoch is lost"
    for tree, serial, noted, found, signed in connection.execute(_HEADS):
        if noted != found or digest(signed) != found or not _says(signed, tree, epoch, serial):
            yield f"serial {serial} of {tree}, the newest one, is not what was announced"
    for (tree,) in connection.execute(_WITHOUT_HEAD):
        yield f"the newest serial of {tree} is lost"
    for tree, count, oldest, newest in connection.execute(_EXTENTS):
        if count != newest - oldest + 1:
            yield f"updates of {tree} between serial {oldest} and {newest} are missing"
    for (position,) in connection.execute(_WITHOUT_LIST):
        tree, serial = connection.execute(_NAMED, (position,)).fetchone()
        yield f"the list of serial {serial} of {tree} is missing"
    for (told,) in connection.execute("PRAGMA quick_check(1)"):
        if told != "ok":
            yield str(told)


def _says(signed: bytes, tree: str, epoch: str, serial: int) -> bool:
    """Tell whether this is the update as which it is kept; its digest has been compared before."""
    msg = json.loads(signed)["msg"]
    return bool((msg["tree"], msg["epoch"], msg["serial"]) == (tree, epoch, serial))
