"""Where a folder lies on its file system, whatever mounts lead there: two names of one folder have one such place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

_TABLE = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """The folder `root` of the file system `device`, which is seen at `point`."""

    device: str
    root: PurePath
    point: PurePath


def read_mounts() -> tuple[Mount, ...]:
    """Return what is mounted, later mounts last; nothing when that cannot be read."""
    try:
        return parse_mounts(_TABLE.read_text(errors="surrogateescape").splitlines())
    except OSError:
        return ()


def parse_mounts(lines: Iterable[str]) -> tuple[Mount, ...]:
    """Return the mounts of a table in the form of /proc/PID/mountinfo (proc(5))."""
    fields = (line.split(" ") for line in lines)
    return tuple(
        Mount(found[2], PurePath(_unescape(found[3])), PurePath(_unescape(found[4])))
        for found in fields
        if len(found) > 4
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def find_place(path: Path, mounts: tuple[Mount, ...]) -> Path:
    """Return a name for the place of `path`, links followed: below one name for each file system."""
    real = Path(os.path.realpath(path))
    holding = [mount for mount in mounts if real.is_relative_to(mount.point)]
    if not holding:
        return real
    # Of several at one point the last one hides the others.
    mount = max(reversed(holding), key=lambda mount: len(mount.point.parts))
    return Path("/", mount.device, *mount.root.parts[1:], *real.relative_to(mount.point).parts)
