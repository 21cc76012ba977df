"""How a file comes into the publisher's folder: with the folder's owner and group, and so that it stays there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_to_owner_of(folder: Path, descriptor: int) -> None:
    """Let the file belong to whom the folder belongs to, and be written by the group where that may write there.

    It has to be opened with O_NOFOLLOW or O_EXCL: otherwise whoever may write into the folder could have root give away
    any file by a link. One with further names is left alone, for the same reason.
    """
    status = os.stat(folder)
    if os.fstat(descriptor).st_nlink > 1:
        return
    # Without the right to give the file away it keeps our group, which is then the folder's or of no use to it.
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, status.st_uid if os.geteuid() == 0 else -1, status.st_gid)
    os.fchmod(descriptor, 0o660 if status.st_mode & 0o020 else 0o600)


def sync_folder(folder: Path) -> None:
    """Have the names in the folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
