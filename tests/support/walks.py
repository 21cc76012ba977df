"""Did a mirror walk a whole tree? The rsync daemon knows, also of a connection that was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.rsyncd import RsyncDaemon

_ARGUMENTS = 16


@dataclass(frozen=True)
class Request:
    """What the daemon's process `process_id` was asked for, with which arguments."""

    process_id: int
    arguments: tuple[str, ...]

    @property
    def is_walk(self) -> bool:
        """Whether it goes through the whole tree: recursively, and not by a list of paths."""
        listed = any(argument.startswith("--files-from") for argument in self.arguments)
        return not listed and "r" in self._letters

    @property
    def is_dry(self) -> bool:
        """Whether nothing was to be transferred."""
        return "n" in self._letters

    @property
    def compares_contents(self) -> bool:
        """Whether checksums of all files were asked for: tests do that, pushmirror does not."""
        return "c" in self._letters

    @property
    def _letters(self) -> str:
        clusters = [text[1:] for text in self.arguments if text.startswith("-") and not text.startswith("--")]
        return "".join(cluster.split("e.")[0] for cluster in clusters)


class WalkRecord:
    """Has the daemon write down the arguments of each connection before it serves it, in `folder`.

    A connection that ran to its end is looked at a second time: `ballast_bytes` is the size of something in the tree
    that is never announced, so that whoever lists it has walked the tree.
    """

    def __init__(self, folder: Path, ballast_bytes: int) -> None:
        self._record = folder / "rsyncd-requests"
        self._script = folder / "rsyncd-record"
        self._ballast_bytes = ballast_bytes

    def settings(self) -> str:
        """Return what is to stand in the daemon's settings; writes the program that they name."""
        self._script.parent.mkdir(parents=True, exist_ok=True)
        told = " ".join(f'"$RSYNC_ARG{number}"' for number in range(1, _ARGUMENTS + 1))
        self._script.write_text(f'#!/bin/sh\necho "$RSYNC_PID" {told} >> "{self._record}"\n')
        self._script.chmod(0o755)
        return f"pre-xfer exec = {self._script}"

    def requests(self) -> list[Request]:
        """Return what the daemon was asked for, in that order."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return [Request(int(line.split()[0]), tuple(line.split()[1:])) for line in lines]

    def walks(self, rsyncd: RsyncDaemon) -> list[Request]:
        """Return the requests, of pushmirror alone, that went through the whole tree."""
        found = [request for request in self.requests() if request.is_walk]
        heavy = {
            connection.process_id
            for connection in rsyncd.connections()
            if (connection.total_size_bytes or 0) >= self._ballast_bytes
        }
        by_arguments = {request.process_id for request in found}
        assert heavy <= by_arguments, "the daemon listed the whole tree for a request that looks like a list"
        return [request for request in found if not request.compares_contents]
