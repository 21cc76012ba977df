"""Follows the bus of the demonstration in a thread, and puts what it heard together to a timeline."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.table import Table

from pushmirror.core.messages import HEARTBEAT, UPDATED
from pushmirror.monitor.feeds import from_settings
from pushmirror.monitor.follow import Arrival, Follower
from pushmirror.monitor.hearing import Trust
from pushmirror.monitor.quantities import UNKNOWN, format_bytes
from pushmirror.monitor.tables import make_table

_JOIN_S = 10.0


class Listening:
    """Records every verified message of a publisher, in a `with` block; `settings` are the publisher's."""

    def __init__(self, settings: Path) -> None:
        self._feeds = from_settings(settings).feeds
        self._arrivals: list[Arrival] = []
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Listening:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.write(self._writing, b".")
        self._thread.join(_JOIN_S)
        os.close(self._reading)
        os.close(self._writing)

    def _listen(self) -> None:
        with Follower(self._feeds, lambda: time.time_ns() // 1_000_000, stop=self._reading) as follower:
            for arrival in follower.messages():
                if arrival.heard.trust is Trust.VERIFIED:
                    self._arrivals.append(arrival)

    def hears(self) -> bool:
        """Tell whether the connection stands: a heartbeat has come."""
        return any(arrival.heard.kind == HEARTBEAT for arrival in self._arrivals)

    def timeline(self, serial: int, nodes: Iterable[str]) -> Timeline:
        """Return what has been heard so far about the update `serial`."""
        return find_timeline(tuple(self._arrivals), serial, nodes)


@dataclass(frozen=True)
class Progress:
    """One mirror, in milliseconds after the commit (None: not heard), and what its job did."""

    node: str
    started_ms: int | None = None
    applied_ms: int | None = None
    cleaned_ms: int | None = None
    files: int | None = None
    bytes: int | None = None
    deleted: int | None = None


@dataclass(frozen=True)
class Timeline:
    """When an update was committed (milliseconds since the epoch), and what followed."""

    committed_ms: int | None
    announced_ms: int | None
    mirrors: tuple[Progress, ...]

    @property
    def complete(self) -> bool:
        """Whether every mirror was heard to be done."""
        return self.committed_ms is not None and all(mirror.cleaned_ms is not None for mirror in self.mirrors)


def find_timeline(arrivals: Iterable[Arrival], serial: int, nodes: Iterable[str]) -> Timeline:
    """Return the timeline of the update `serial` that `arrivals` tell."""
    after: list[Arrival] = []
    update: Arrival | None = None
    for arrival in arrivals:
        if arrival.heard.kind == UPDATED and arrival.heard.msg["serial"] == serial:
            update = arrival
        elif update is not None:
            after.append(arrival)
    if update is None:
        return Timeline(None, None, tuple(Progress(node) for node in nodes))
    committed_ms = update.heard.msg["at_ms"]
    mirrors = tuple(_find_progress(node, serial, committed_ms, after) for node in nodes)
    return Timeline(committed_ms, max(0, update.at_ms - committed_ms), mirrors)


def _find_progress(node: str, serial: int, committed_ms: int, arrivals: list[Arrival]) -> Progress:
    found = [arrival for arrival in arrivals if arrival.heard.msg.get("node") == node]
    started = next((a for a in found if a.heard.kind == "sync.started"), None)
    done = next((a for a in found if a.heard.kind == "sync.completed" and a.heard.msg["applied"] >= serial), None)
    started_ms = None if started is None else started.at_ms - committed_ms
    if done is None:
        return Progress(node, started_ms)
    told: Any = done.heard.msg
    cleaned_ms = done.at_ms - committed_ms if told["cleaned"] >= serial else None
    return Progress(node, started_ms, told["lag_ms"], cleaned_ms, told["files"], told["bytes"], told["deleted"])


def show_timeline(timeline: Timeline) -> Table:
    """Return the timeline as a table."""
    numbers = ("started", "applied", "cleaned", "files", "received", "deleted")
    table = make_table("Milliseconds after the commit", "mirror", *numbers, right=numbers)
    for mirror in timeline.mirrors:
        times = [UNKNOWN if t is None else f"{t}" for t in (mirror.started_ms, mirror.applied_ms, mirror.cleaned_ms)]
        counts = [UNKNOWN if n is None else str(n) for n in (mirror.files, mirror.deleted)]
        table.add_row(mirror.node, *times, counts[0], format_bytes(mirror.bytes), counts[1])
    return table
