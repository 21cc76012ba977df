"""Files beside the journal: made for whoever may announce, which the state folder decides."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pushmirror.errors import StateError

_GROUP_MAY_WRITE = 0o020


def open_for_owner(path: Path) -> int:
    """Return a descriptor of the file at `path`, which is made, if there is none, with the rights of its folder.

    When root makes it, it belongs to the folder's owner; the folder's group may write it where it may write there.
    Raises StateError when that is not possible.
    """
    try:
        with contextlib.suppress(FileExistsError):
            _make(path)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        advice = f"run this as the user that the daemon runs as, and see that this user may write into {path.parent}"
        raise StateError(f"{path}: cannot be made or opened ({error.strerror}); {advice}") from error


def _make(path: Path) -> None:
    folder = os.stat(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, folder.st_uid if os.geteuid() == 0 else -1, folder.st_gid)
        os.fchmod(descriptor, 0o660 if folder.st_mode & _GROUP_MAY_WRITE else 0o600)
    finally:
        os.close(descriptor)
