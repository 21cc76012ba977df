"""Half an hour of random announcements and faults: does anything grow, leak or complain, and is all exact in the end?

    python -m benchmarks.soak [--minutes 30] [--seed 1]

Five mirrors in two tiers below one publisher: daemons are killed, stopped and brought back, rsync and its daemons end,
the network is cut, stands still or swallows, ledgers are restored from backups. Prints Markdown tables. Ends with 1
when a mirror is not exact, or when a log complains of something that no fault explains.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.soak_samples import Daemon, explain, growth_bytes_per_hour, mean_rss_bytes
from benchmarks.soak_world import SoakWorld

LOOK_EVERY_S = 2.0
PUBLISH_EVERY_S = (0.2, 3.0)
TROUBLE_EVERY_S = (1.0, 6.0)
TURN_S = 0.1
SETTLED_S = 20.0
"""So long nothing goes wrong at the beginning and at the end, so that start and end can be compared."""

MEGABYTE = 1e6
COLUMNS = (
    "daemon", "lives", "memory: first", "mean", "last", "most", "growth of the last life, MB/h", "descriptors: first",
    "last", "most", "threads", "jobs done", "full syncs begun", "complaints",
)  # fmt: skip


def soak(world: SoakWorld, seconds: float, chance: random.Random) -> int:
    """Let `seconds` pass with announcements and faults; return how many announcements there were."""
    started = time.monotonic()
    settled_s = min(SETTLED_S, seconds / 4)
    due = {"look": started, "publish": started, "trouble": started + settled_s}
    announced = 0
    while (now := time.monotonic()) < started + seconds:
        if due["look"] <= now:
            due["look"] = now + LOOK_EVERY_S
            look(world.daemons, started)
        if due["publish"] <= now:
            due["publish"] = now + chance.uniform(*PUBLISH_EVERY_S)
            world.publish()
            announced += 1
        if due["trouble"] <= now:
            due["trouble"] = now + chance.uniform(*TROUBLE_EVERY_S)
            world.make_trouble((now - started) / seconds)
        world.heal()
        time.sleep(TURN_S)
    world.end_exact()
    rest_until = time.monotonic() + settled_s
    while time.monotonic() < rest_until:
        look(world.daemons, started)
        time.sleep(LOOK_EVERY_S)
    return announced + 1


def look(daemons: list[Daemon], started_s: float) -> None:
    """Take a sample of each."""
    for daemon in daemons:
        daemon.look(started_s)


def show_daemons(console: Console, daemons: list[Daemon]) -> None:
    """Print a row for each daemon; memory in MB."""
    table = Table(*COLUMNS, box=MARKDOWN)
    for daemon in daemons:
        table.add_row(daemon.name, *describe(daemon))
    console.print(table)


def describe(daemon: Daemon) -> tuple[str, ...]:
    """Return the row of a daemon, without its name."""
    samples = daemon.samples
    growth = growth_bytes_per_hour(daemon.last_life())
    memory = (samples[0].rss_bytes, mean_rss_bytes(samples), samples[-1].rss_bytes, max(s.rss_bytes for s in samples))
    descriptors = (samples[0].descriptors, samples[-1].descriptors, max(s.descriptors for s in samples))
    return (
        f"{daemon.lives()}",
        *(f"{value / MEGABYTE:.1f}" for value in memory),
        "" if growth is None else f"{growth / MEGABYTE:+.1f}",
        *(f"{value}" for value in descriptors),
        f"{max(sample.threads for sample in samples)}",
        f"{daemon.jobs()}",
        f"{daemon.full_syncs()}",
        f"{daemon.complaints().total()}",
    )


def show_complaints(console: Console, daemons: list[Daemon]) -> int:
    """Print what the logs complain of, by kind; return how many kinds no fault explains."""
    counts: Counter[str] = Counter()
    for daemon in daemons:
        counts += daemon.complaints()
    table = Table("times", "complaint", "explained by", box=MARKDOWN)
    for kind, times in counts.most_common():
        table.add_row(f"{times}", kind, explain(kind) or "**nothing**")
    console.print(table)
    return sum(explain(kind) is None for kind in counts)


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long things go wrong.")
@click.option("--seed", default=1, show_default=True, help="What goes wrong, and when.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything is kept; absent: nothing is.")
def main(minutes: float, seed: int, folder: Path | None) -> None:
    """Soak, and print what was seen."""
    console = Console(width=400)  # a Markdown row is one line, however long
    with tempfile.TemporaryDirectory(prefix="pushmirror-soak-") as temporary:
        chance = random.Random(seed)
        with SoakWorld(folder or Path(temporary), chance) as world:
            announced = soak(world, minutes * 60, chance)
            world.stop()
            faults = Counter(what.rpartition(": ")[2] for what in world.told)
            console.print(
                f"{minutes:g} minutes, {announced:,} announcements, {len(world.told):,} faults: {dict(faults)}."
            )
            console.print(f"Full syncs by the word of the rsync daemons: {world.full_syncs()}. All mirrors are exact.")
            show_daemons(console, world.daemons)
            unexplained = show_complaints(console, world.daemons)
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
