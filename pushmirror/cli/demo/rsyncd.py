"""The rsync daemon of the demonstration: its settings, and what its log says about each who read from it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BEGUN = re.compile(r"\[(\d+)\] rsync (?:on|allowed access on module) ")
_TOTALS = re.compile(r"\[(\d+)\] sent (\d+) bytes  received (\d+) bytes  total size (\d+)")
_SENT = re.compile(r"\[\d+\] send (\d+)")


@dataclass(frozen=True)
class Reading:
    """What one reader did. `content_bytes` is the size of the files that were sent, `sent_bytes` what really went over
    the wire, file lists included; `listed_bytes` the volume of all files that were looked at, sent or not."""

    connections: int
    open_connections: int
    files_sent: int
    content_bytes: int
    sent_bytes: int
    listed_bytes: int


def compose_settings(folder: Path, tree: Path, readers: Sequence[str]) -> str:
    """Return an rsyncd.conf that serves `tree`, under the name of each reader, so that the log tells who read."""
    lines = [
        "use chroot = no",
        "read only = yes",
        "reverse lookup = no",
        "munge symlinks = no",
        f"lock file = {folder / 'rsyncd.lock'}",
        f"log file = {folder / 'rsyncd.log'}",
        "transfer logging = yes",
        "log format = %o %l",
    ]
    if os.geteuid() == 0:  # started as root, it would otherwise read as nobody
        lines += ["uid = root", "gid = root"]
    for reader in readers:
        lines += [f"[{reader}]", f"    path = {tree}", f"    log file = {log_path(folder, reader)}"]
    return "\n".join(lines) + "\n"


def log_path(folder: Path, reader: str) -> Path:
    """Return where the daemon writes what `reader` did."""
    return folder / f"rsyncd-{reader}.log"


def log_size(folder: Path, reader: str) -> int:
    """Return how long the log is now, to leave out later what was before."""
    try:
        return log_path(folder, reader).stat().st_size
    except FileNotFoundError:
        return 0


def read_log(folder: Path, reader: str, start: int = 0) -> Reading:
    """Return what `reader` did according to the log, from its byte `start` on."""
    try:
        with log_path(folder, reader).open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        text = ""
    begun, totals = set(_BEGUN.findall(text)), _TOTALS.findall(text)
    sizes_bytes = [int(size) for size in _SENT.findall(text)]
    return Reading(
        connections=len(begun),
        open_connections=len(begun.difference(total[0] for total in totals)),
        files_sent=len(sizes_bytes),
        content_bytes=sum(sizes_bytes),
        sent_bytes=sum(int(total[1]) for total in totals),
        listed_bytes=max((int(total[3]) for total in totals), default=0),
    )
