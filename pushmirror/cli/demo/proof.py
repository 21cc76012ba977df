"""The proof at the end of the demonstration: every mirror compared with the Tier 1 by content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pushmirror.cli.demo.processes import run_command
from pushmirror.cli.demo.rsyncd import Reading
from pushmirror.logs import escape
from pushmirror.monitor.quantities import format_bytes
from pushmirror.monitor.tables import make_table

COMPARE = ("-rlptH", "--safe-links", "--chmod=ug-s", "--checksum", "--modify-window=-1", "-ni", "--delete")
_SHOWN_DIFFERENCES = 20


@dataclass(frozen=True)
class Proof:
    """What rsync would still do to make each mirror like the Tier 1, by the mirror's name: nothing if it is exact."""

    differences: Mapping[str, tuple[str, ...]]

    @property
    def exact(self) -> bool:
        """Whether no mirror differs in anything."""
        return not any(self.differences.values())


def compare(url: str, mirror: Path) -> tuple[str, ...]:
    """Return what differs between the tree at `url` and a mirror: names, contents, times, permissions, links."""
    printed = run_command(["rsync", *COMPARE, url, f"{mirror}/"])
    return tuple(escape(line.decode("utf-8", "backslashreplace")) for line in printed.splitlines())


def show_proof(proof: Proof, entries: int) -> Table:
    """Return the proof as a table; `entries` is how many names the tree has."""
    table = make_table("Comparison by content", "mirror", "names compared", "differences", right=("names compared",))
    for mirror, differences in proof.differences.items():
        shown = Text(f"{len(differences)} differences", "bold red") if differences else Text("none: exact", "green")
        table.add_row(mirror, f"{entries:,}", shown)
    return table


def tell_differences(proof: Proof) -> str:
    """Return the differences as lines, each with the mirror's name before it."""
    lines = [f"{mirror}: {line}" for mirror, found in proof.differences.items() for line in found]
    return "\n".join(lines[:_SHOWN_DIFFERENCES])


def show_cost(readings: Mapping[str, Reading], walk: Reading, volume_bytes: int) -> Table:
    """Return what the rsync daemon's log says about each mirror, and `walk`, one run over the whole tree, beside it."""
    numbers = ("runs", "files sent", "content", "lists", "looked at")
    table = make_table("What the log of the rsync daemon says", "who", *numbers, right=numbers)
    for name, reading in readings.items():
        table.add_row(name, *_show_reading(reading, volume_bytes))
    table.add_section()
    table.add_row("a whole-tree run", *_show_reading(walk, volume_bytes), style="dim")
    return table


def _show_reading(reading: Reading, volume_bytes: int) -> tuple[str, ...]:
    share = 100 * reading.listed_bytes / max(1, volume_bytes)
    looked_at = f"{format_bytes(reading.listed_bytes)} ({share:.0f} %)"
    lists = format_bytes(max(0, reading.sent_bytes - reading.content_bytes))
    return str(reading.connections), str(reading.files_sent), format_bytes(reading.content_bytes), lists, looked_at
