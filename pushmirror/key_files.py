"""Files with keys in them: read within bounds, written whole or not at all and closed to others."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from pushmirror.errors import KeyFileError

UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]")


def already_there(path: Path) -> KeyFileError:
    """Return the error for a key file that would have to be overwritten."""
    return KeyFileError(f"{path}: exists already and is not overwritten; name another file, or move it away first")


def read_bounded(path: Path, limit_bytes: int, advice_when_missing: str) -> tuple[bytes, int]:
    """Return content and permission bits of a regular file; both from one descriptor, so that they belong together.

    Raises KeyFileError when there is none, it cannot be read, or it is larger than any key.
    """
    try:
        # Without O_NONBLOCK a named pipe at this place would be waited for.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"{path}: not a regular file")
            data = file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: there is no such file; {advice_when_missing}") from error
    except OSError as error:
        advice = "it has to be a file that the daemon's user may read"
        raise KeyFileError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
    if len(data) > limit_bytes:
        raise KeyFileError(f"{path}: larger than {limit_bytes} bytes; this is some other file")
    return data, stat.S_IMODE(status.st_mode)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Create `path` with all of `data` or not at all; KeyFileError when something is there already."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            # A link, unlike a rename, never replaces what is there.
            os.link(beside, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(beside)
    except FileExistsError as error:
        raise already_there(path) from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written ({error.strerror})") from error
