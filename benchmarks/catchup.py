"""What a mirror that was switched off needs to catch up, beside the bare rsync runs for the same changes.

    python -m benchmarks.catchup [--files 1000000] [--changes 10000] [--updates 100 --updates 10000] [--rounds 4]

In each round a subscriber is off while `changes` files change, told in so many `updates`. Then it is started, and the
clock runs from the start of its process. The bare baseline (one put run and one delete run of the same lists, with our
options) and a full ``rsync -aH --delete`` follow the same changes. Before each of them its mirror and Tier 1 are
walked once: what the cache holds decides else, not what is measured. Times are seconds, the medians over the rounds.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.scoped import ALLOWED_FACTOR, assert_same, change, last_job, make_files, run_baseline, run_full_rsync
from pushmirror.control.client import wake
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.publisher.announcement import Announcement
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.journal import JOURNAL_NAME, Journal
from tests.support.world import PUBLISHER, TREE, Subscriber, World

ALLOWED_EXTRA_S = 0.5
CATCH_UP_DEADLINE_S = 600.0


@dataclass
class Times:
    """Seconds of each round, and how many rsync connections our way took."""

    full: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    cleaned: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


def announce(world: World, put: list[TreePath], deleted: list[TreePath], updates: int) -> int:
    """Commit the changes to the journal in that many updates, as ``publish`` does; return the last serial."""
    identity = Identity(PUBLISHER, "org.example", "test")
    journal = Journal(world.publisher_folder / "state" / JOURNAL_NAME)
    serial = 0
    try:
        for number in range(updates):
            changes = ChangeList(changed=tuple(put[number::updates]), deleted=tuple(deleted[number::updates]))
            root_mtime_ns = world.tree.stat().st_mtime_ns
            serial = journal.announce(Announcement(identity, TREE, changes, root_mtime_ns=root_mtime_ns)).serial
    finally:
        journal.close()
    wake(world.publisher_folder / "control.sock")
    return serial


def walk(*roots: Path) -> None:
    """Look at every entry below `roots` once."""
    subprocess.run(["find", *roots, "-newer", "/proc/self", "-printf", ""], check=True)


def catch_up(world: World, subscriber: Subscriber, serial: int, times: Times) -> None:
    """Start the subscriber, wait until it is exact, and take the times."""
    walk(world.tree, subscriber.mirror)
    before = len(world.rsyncd.connections())
    started_ms = time.time_ns() // 1_000_000
    logged = len(subscriber.program.log_text())
    subscriber.start()
    times.ready.append((time.time_ns() // 1_000_000 - started_ms) / 1000)
    # Whoever asks the daemon meanwhile takes from it, and from rsync, what is measured.
    subscriber.program.wait_for_line(f"applied serial {serial}:", after=logged, deadline_seconds=CATCH_UP_DEADLINE_S)
    subscriber.wait_exact(serial)
    job = last_job(subscriber)
    times.applied.append((job.applied_ms - started_ms) / 1000)
    times.cleaned.append((job.finished_ms - started_ms) / 1000)
    times.runs.append(len(world.rsyncd.connections()) - before)


def measure(files: int, changes: int, all_updates: tuple[int, ...], rounds: int) -> Iterator[Times]:
    """Yield the times of all rounds, for each number of updates."""
    chance = random.Random(files)
    with tempfile.TemporaryDirectory(prefix="pushmirror-benchmark-") as folder, World(Path(folder)) as world:
        paths = make_files(world.tree, files)
        world.start_publisher()
        subscriber = world.add_subscriber(delete_budget={"count": changes})
        subscriber.start()
        subscriber.wait_exact(0, deadline_seconds=1800)
        full, bare = Path(folder) / "full", Path(folder) / "bare" / "mirror"
        bare.mkdir(parents=True)
        for mirror in (full, bare):
            run_full_rsync(world.source, mirror)
        for updates in all_updates:
            times = Times()
            for number in range(rounds):
                subscriber.program.terminate()
                put, deleted = change(world.tree, paths, changes, chance)
                serial = announce(world, put, deleted, updates)
                # Whoever comes second finds more in the cache: these two take turns.
                if number % 2:
                    catch_up(world, subscriber, serial, times)
                walk(world.tree, bare)
                times.baseline.append(run_baseline(world.source, bare, put, deleted))
                if not number % 2:
                    catch_up(world, subscriber, serial, times)
                walk(world.tree, full)
                times.full.append(run_full_rsync(world.source, full))
                seen = (f"{values[-1]:.2f}" for values in (times.baseline, times.applied, times.full))
                click.echo(f"{updates} updates: baseline, to applied, full: {', '.join(seen)}", err=True)
            yield times
        assert_same(world, subscriber, files)


@click.command()
@click.option("--files", default=1_000_000, show_default=True)
@click.option("--changes", default=10_000, show_default=True)
@click.option("--updates", multiple=True, type=int, default=(100, 10_000), show_default=True)
@click.option("--rounds", default=4, show_default=True)
def main(files: int, changes: int, updates: tuple[int, ...], rounds: int) -> None:
    """Print a table, one row for each number of updates."""
    columns = ("updates", "full rsync", "baseline", "start to ready", "start to applied", "start to cleaned",
               "allowed to applied", "full / applied", "rsync runs")  # fmt: skip
    table = Table(*columns, title=f"{files:,} files, {changes:,} changes: seconds, medians of {rounds} rounds")
    for count, times in zip(updates, measure(files, changes, updates, rounds), strict=True):
        middle = statistics.median
        full, baseline, applied = middle(times.full), middle(times.baseline), middle(times.applied)
        seconds = (full, baseline, middle(times.ready), applied, middle(times.cleaned))
        allowed = baseline * ALLOWED_FACTOR + ALLOWED_EXTRA_S
        others = (f"{allowed:.2f}", f"{full / applied:.1f}", f"{middle(times.runs):.0f}")
        row = (f"{count:,}", *(f"{value:.2f}" for value in seconds), *others)
        click.echo(" | ".join(row), err=True)  # a tree of a million files takes long; what was seen is not lost
        table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
