"""Keeps what the runs of a tree have itemised until it is announced, also that of runs which failed or were killed.

What a failed run has brought is not itemised again by the next one: without its log it would never be announced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from pushmirror.core.itemise import read_log
from pushmirror.errors import StateError
from pushmirror.publisher.detect.from_rsync import LogPart
from pushmirror.publisher.detect.run_destination import RunContext, place_destination, scratch_of

FORMAT = 1


class RunLogs:
    """The logs in `folder`, numbered in the order in which they were begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, context: RunContext) -> Path:
        """Note down what a new log means, and return where rsync is to write it. Raises StateError."""
        self._tidy()
        numbers = [int(path.stem) for path in self._contexts()]
        context_path = self._folder / f"{max(numbers, default=0) + 1:06d}.json"
        beside = context_path.with_suffix(".new")
        try:
            # What lies there is left over, or a link by which somebody would have root write into another file.
            for path in (beside, context_path.with_suffix(".log")):
                path.unlink(missing_ok=True)
            with beside.open("x", encoding="ascii") as file:
                json.dump({"format": FORMAT, **asdict(context)}, file)
            beside.replace(context_path)
        except OSError as error:
            raise StateError(f"{context_path}: the run cannot be noted down ({error.strerror})") from error
        return context_path.with_suffix(".log")

    @contextmanager
    def opened(self, root: Path) -> Iterator[tuple[LogPart, ...]]:
        """Yield the logs as they concern the tree at `root`, the oldest first, to be read inside the block."""
        with ExitStack() as files:
            yield tuple(part for path in self._contexts() if (part := _open_part(path, root, files)) is not None)

    def discard(self) -> None:
        """Forget all logs: what they tell is announced."""
        for path in self._contexts():
            path.with_suffix(".log").unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    def _tidy(self) -> None:
        """Forget the runs whose rsync was never started."""
        for path in self._contexts():
            if not path.with_suffix(".log").exists():
                path.unlink(missing_ok=True)

    def _contexts(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.json") if path.stem.isdecimal())


def _open_part(context_path: Path, root: Path, files: ExitStack) -> LogPart | None:
    context = _read_context(context_path)
    placement = place_destination(root, context.destination)
    log = context_path.with_suffix(".log")
    if placement is None or not log.exists():
        return None
    lines = files.enter_context(log.open("rb"))
    return LogPart(read_log(lines, separated=True), placement, scratch_of(root, context))


def _read_context(path: Path) -> RunContext:
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        if found.pop("format") != FORMAT:
            raise ValueError("a format that this program does not know")
        return RunContext(found["destination"], tuple(found["scratch_folders"]), found["partial_folder"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        advice = "remove it, and announce the tree with: pushmirror publish TREE --whole-tree"
        raise StateError(f"{path}: what an earlier run has changed cannot be read ({error}); {advice}") from error
