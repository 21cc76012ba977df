"""The rsync that is installed here: which version it is, and what an operator should know of it."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pushmirror.core.rsync_version import RsyncVersion, describe_faults, parse_version
from pushmirror.subscriber.confinement import find_version
from pushmirror.subscriber.environment import clean_environment

log = logging.getLogger(__name__)

_PATIENCE_S = 10
_UNCONFINED = (
    "the kernel does not hold rsync to its tree: it has no Landlock of Linux 5.19 or later, or a filter of system "
    "calls forbids it; rsync's own checks remain"
)


@dataclass(frozen=True)
class InstalledRsync:
    """`version` is None when it could not be found out; `is_confined` tells whether the kernel confines its writes."""

    version: RsyncVersion | None
    is_confined: bool
    is_free: bool = False
    """It is not confined because the operator wants it so."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know, in whole sentences."""
        faults = describe_faults(self.version)
        return (*filter(None, [faults]), *(() if self.is_confined or self.is_free else (_UNCONFINED,)))

    def warn(self) -> None:
        """Log what an operator should know."""
        for warning in self.warnings:
            log.warning("%s", warning)

    def show(self) -> dict[str, Any]:
        """Return what ``status`` tells of it."""
        version = None if self.version is None else str(self.version)
        return {"version": version, "confined": self.is_confined, "warnings": list(self.warnings)}


def ask_rsync(program: str, environment: Mapping[str, str], *, confine: bool = True) -> InstalledRsync:
    """Return what the program of this name or path says of itself; it need not be there, nor be an rsync.

    `confine` tells whether its runs are to be confined.
    """
    is_confined = confine and find_version() > 0
    try:
        # Not by sh, which looks every tenth of a second whether a program has ended: each start would wait for that.
        printed = subprocess.run(
            [program, "--version"], env=clean_environment(environment), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_PATIENCE_S, check=True,
        ).stdout  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return InstalledRsync(None, is_confined, is_free=not confine)
    return InstalledRsync(parse_version(printed), is_confined, is_free=not confine)
