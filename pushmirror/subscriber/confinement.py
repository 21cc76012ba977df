"""Lets rsync write below some folders and nowhere else, by the kernel's own rule (landlock(7)).

Whatever links a tree holds, whatever a server makes an rsync of any version believe: a name outside the folders can
neither be made, nor written, nor removed. Reading is left alone, and so are the permissions and times of what is there
already, which the kernel has no rule for.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")

# The numbers are the same on every architecture that Linux has had a long name for since 2019.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_TELL_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_OLDEST_WITH_RENAMES = 2
"""Before that no file may be renamed from one directory into another, which rsync has to do."""

_WRITE_FILE = 1 << 1
_REMOVE_DIRECTORY, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE = sum(1 << bit for bit in range(6, 13))
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_TRUNCATE_SINCE = 3


def find_version() -> int:
    """Return the version of the kernel's rules, 0 when it has none that are of use here."""
    version: int = _library().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _TELL_VERSION)
    return version if version >= _OLDEST_WITH_RENAMES else 0


def start_confined(start: Callable[[], Result], folders: Sequence[str]) -> Result:
    """Return what `start` returns; every process that it starts can write below `folders` and nowhere else.

    A folder that does not exist is none. Where the kernel knows no such rules `start` is just called. Raises what
    `start` raises, and OSError when the rules could not be set.
    """
    version = find_version()
    if not version:
        return start()
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _confine_thread(folders, version)
            outcome.append(start())
        except BaseException as error:  # it is raised where it was waited for
            failure.append(error)

    # The rules hold for a thread and what it starts, and for ever: so it is a thread for this alone.
    thread = threading.Thread(target=run, name="rsync")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _confine_thread(folders: Sequence[str], version: int) -> None:
    rights = _WRITE_FILE | _REMOVE_DIRECTORY | _REMOVE_FILE | _MAKE | _REFER
    if version >= _TRUNCATE_SINCE:
        rights |= _TRUNCATE
    library = _library()
    attributes = struct.pack("=Q", rights)
    rules = _check(library.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for folder in folders:
            _allow(library, rules, folder, rights)
        _allow(library, rules, os.devnull, rights & (_WRITE_FILE | _TRUNCATE))
        _check(library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _check(library.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow(library: Any, rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _check(library.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0))
    finally:
        os.close(descriptor)


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"rsync cannot be confined to its tree: {os.strerror(number)}")
    return result
