"""What a scoped sync costs beside the bare rsync runs it is made of, and beside a full rsync.

    python -m benchmarks.scoped [--files 10000 --files 100000] [--changes 100] [--rounds 7] [--profile rpm]

In each round the same files change at Tier 1, and three mirrors follow, one after the other: by a full ``rsync -aH
--delete``, by the bare baseline (one put run and one delete run of the same lists, with our options), and by
pushmirror: a real publisher, a real subscriber, everything on loopback. Times are seconds, the medians over the rounds.
With ``--profile rpm`` two of the changes are metadata, which pushmirror stages and switches; the baseline does not.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pushmirror.core.command import RunOptions, build_command
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import STAGING_NAME, TreePath
from pushmirror.core.source import parse_source
from pushmirror.publisher.journal import JOURNAL_NAME
from tests.support.compare import differences
from tests.support.processes import run_pushmirror
from tests.support.world import TREE, Subscriber, World

DELETED_SHARE = 10
PLAIN = "plain"
MOST_FILES_READ = 200_000
ALLOWED_FACTOR, ALLOWED_EXTRA_S, ALLOWED_STAGING_S = 1.1, 0.1, 0.2
METADATA = (TreePath(b"repodata/primary.xml"), TreePath(b"repodata/repomd.xml"))


@dataclass
class Times:
    """Seconds of each round."""

    full: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    cleaned: list[float] = field(default_factory=list)
    command: list[float] = field(default_factory=list)
    wire_full: list[int] = field(default_factory=list)
    wire_ours: list[int] = field(default_factory=list)


def make_files(root: Path, count: int) -> list[TreePath]:
    """Make `count` empty files, two hundred to a directory; return their paths.

    A file system in memory has room for four trees of a million such files, so that no disk sets the pace.
    """
    paths = []
    for number in range(count):
        folder = root / "pool" / f"{number // 20_000:03}" / f"{number // 200:05}"
        if number % 200 == 0:
            folder.mkdir(parents=True)
        path = folder / f"package-{number:07}.rpm"
        path.touch()
        paths.append(TreePath(os.fsencode(path.relative_to(root))))
    return paths


def change(
    root: Path, files: list[TreePath], count: int, chance: random.Random
) -> tuple[list[TreePath], list[TreePath]]:
    """Delete a tenth of `count` files, rewrite the others or put them back; return what was put and what deleted."""
    chosen = chance.sample(files, count)
    deleted = sorted(path for path in chosen[: count // DELETED_SHARE] if (root / os.fsdecode(path)).exists())
    put = sorted(set(chosen).difference(deleted))
    for path in put:
        (root / os.fsdecode(path)).write_bytes(os.urandom(64))
    for path in deleted:
        (root / os.fsdecode(path)).unlink()
    return put, deleted


def timed(arguments: list[str], given: bytes = b"", allowed: tuple[int, ...] = (0,)) -> float:
    """Run a program to its end; return how long it took."""
    started = time.perf_counter()
    done = subprocess.run(arguments, input=given, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    elapsed = time.perf_counter() - started
    assert done.returncode in allowed, done.stderr.decode()
    return elapsed


def change_metadata(root: Path) -> list[TreePath]:
    """Rewrite the metadata of a repository as archives do, by renames; return its paths."""
    (root / "repodata").mkdir(exist_ok=True)
    for path in METADATA:
        temporary = root / "repodata" / ".new"
        temporary.write_bytes(os.urandom(4096))
        temporary.rename(root / os.fsdecode(path))
    return list(METADATA)


def wire_bytes(world: World, runs: int, work: Callable[[], None]) -> int:
    """Return how many bytes the rsync daemon sent and received in the `runs` runs that `work` makes."""
    before = len(world.rsyncd.connections())
    work()
    world.rsyncd.wait_for_connections(before + runs)
    return sum((c.sent_bytes or 0) + (c.received_bytes or 0) for c in world.rsyncd.connections()[before:])


def run_baseline(source: str, mirror: Path, put: list[TreePath], deleted: list[TreePath]) -> float:
    """Bring `put` and delete `deleted` by two bare rsync runs; return how long they took together."""
    temporary = mirror.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    options = RunOptions(str(temporary), str(temporary), io_timeout_s=600, connect_timeout_s=60)
    elapsed = 0.0
    stages = (Stage(StageKind.PAYLOAD, tuple(put)), Stage(StageKind.DELETE, tuple(deleted)))
    for stage in [stage for stage in stages if stage.paths]:
        command = build_command(stage, parse_source(source), str(mirror), options)
        elapsed += timed(["rsync", *command.arguments], command.listing, allowed=(0, 24))
    return elapsed


def run_ours(world: World, subscriber: Subscriber, put: list[TreePath], deleted: list[TreePath], times: Times) -> None:
    """Announce, wait until the mirror is exact, and take the times that the journal and the ledger recorded."""
    deletions = [f"--delete={os.fsdecode(path)}" for path in deleted]
    started = time.perf_counter()
    done = run_pushmirror(
        "publish", TREE, *deletions, "--paths-from=-", "--config", world.publisher_config, stdin=b"\0".join(put)
    )
    times.command.append(time.perf_counter() - started)
    assert done.returncode == 0, done.stderr.decode()
    subscriber.wait_exact(int(done.stdout))
    job = last_job(subscriber)
    times.applied.append((job.applied_ms - job.at_ms) / 1000)
    times.cleaned.append((job.finished_ms - job.at_ms) / 1000)


@dataclass(frozen=True)
class JobTimes:
    """When a job's newest update was committed to the journal, and when the job had applied and had finished."""

    at_ms: int
    applied_ms: int
    finished_ms: int


def last_job(subscriber: Subscriber) -> JobTimes:
    """Return the times of the last job that applied something, out of the ledger and the publisher's journal."""
    query = "SELECT serial, lag_ms, finished_ms FROM jobs WHERE lag_ms IS NOT NULL ORDER BY job DESC LIMIT 1"
    serial, lag_ms, finished_ms = _query(subscriber.folder / "state" / "ledger.sqlite", query)
    journal = subscriber.world.publisher_folder / "state" / JOURNAL_NAME
    (at_ms,) = _query(journal, "SELECT at_ms FROM updates WHERE serial = ?", serial)
    return JobTimes(at_ms, at_ms + lag_ms, finished_ms)


def run_full(world: World, mirror: Path, times: Times) -> None:
    """Bring the mirror up to date by a full rsync, and take its time."""
    times.full.append(run_full_rsync(world.source, mirror))


def run_full_rsync(source: str, mirror: Path) -> float:
    """Bring the mirror up to date as a cron job would; return how long it took."""
    return timed(["rsync", "-aH", "--delete", source, f"{mirror}/"])


def assert_same(world: World, subscriber: Subscriber, files: int) -> None:
    """Fail when the mirror differs; the contents of a tree of a million files are taken from sizes and times."""
    if files <= MOST_FILES_READ:
        assert differences(world.tree, subscriber.mirror) == []
    else:
        compare = ["rsync", "-niaH", "--delete", "--modify-window=-1", f"--exclude=/{STAGING_NAME.decode()}"]
        done = subprocess.run([*compare, world.source, f"{subscriber.mirror}/"], capture_output=True, check=True)
        assert done.stdout == b"", done.stdout[:1000]


def _query(path: Path, query: str, *values: int) -> tuple[int, ...]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        row: tuple[int, ...] = database.execute(query, values).fetchone()
    return row


# Whoever comes second finds the files in the cache: these two take turns.
def bring_ours(
    world: World, subscriber: Subscriber, bare: Path, put: list[TreePath], deleted: list[TreePath], times: Times
) -> None:
    """Have the subscriber follow, and take its times and what its connections carried."""
    payload = set(put).difference(METADATA)
    runs = bool(payload) + bool(deleted) + (len(payload) < len(put))
    times.wire_ours.append(wire_bytes(world, runs, partial(run_ours, world, subscriber, put, deleted, times)))


def bring_bare(
    world: World, subscriber: Subscriber, bare: Path, put: list[TreePath], deleted: list[TreePath], times: Times
) -> None:
    """Have the bare runs follow, and take their time."""
    times.baseline.append(run_baseline(world.source, bare, put, deleted))
    world.rsyncd.wait_for_connections(len(world.rsyncd.connections()))


def measure(files: int, changes: tuple[int, ...], rounds: int, profile: str) -> Iterator[Times]:
    """Yield the times of all rounds for a tree of that many files, for each number of changes."""
    chance = random.Random(files)
    with tempfile.TemporaryDirectory(prefix="pushmirror-benchmark-") as folder, World(Path(folder)) as world:
        paths = make_files(world.tree, files)
        world.profile = profile
        staged = change_metadata(world.tree) if profile != PLAIN else []
        world.start_publisher()
        subscriber = world.add_subscriber(profile=profile, delete_grace="0s")
        subscriber.start()
        subscriber.wait_exact(0, deadline_seconds=1800)
        full, bare = Path(folder) / "full", Path(folder) / "bare" / "mirror"
        bare.mkdir(parents=True)
        for mirror in (full, bare):
            run_full_rsync(world.source, mirror)
        for count in changes:
            times = Times()
            for number in range(rounds):
                payload, deleted = change(world.tree, paths, max(0, count - len(staged)), chance)
                put = sorted([*payload, *(change_metadata(world.tree) if staged else ())])
                for bring in (bring_ours, bring_bare) if number % 2 else (bring_bare, bring_ours):
                    bring(world, subscriber, bare, put, deleted, times)
                times.wire_full.append(wire_bytes(world, 1, partial(run_full, world, full, times)))
            yield times
        assert_same(world, subscriber, files)


@click.command()
@click.option("--files", multiple=True, type=int, default=(10_000, 100_000), show_default=True)
@click.option("--changes", multiple=True, type=int, default=(100,), show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--profile", default=PLAIN, show_default=True)
def main(files: tuple[int, ...], changes: tuple[int, ...], rounds: int, profile: str) -> None:
    """Print a table, one row for each size of the tree and number of changes."""
    columns = ("files", "changes", "full rsync", "baseline", "to applied", "to cleaned", "cleaned / baseline",
               "allowed", "full / cleaned", "wire full", "wire ours", "`publish`")  # fmt: skip
    table = Table(*columns, title=f"profile {profile}: seconds and bytes, medians of {rounds} rounds")
    for count in files:
        for changed, times in zip(changes, measure(count, changes, rounds, profile), strict=True):
            row = (f"{count:,}", f"{changed:,}", *_columns(times, profile))
            click.echo(" | ".join(row), err=True)  # a tree of a million files takes long; what was seen is not lost
            table.add_row(*row)
    Console(width=150).print(table)


def _columns(times: Times, profile: str) -> tuple[str, ...]:
    full, baseline, applied, cleaned, command = (
        statistics.median(values)
        for values in (times.full, times.baseline, times.applied, times.cleaned, times.command)
    )
    allowed = baseline * ALLOWED_FACTOR + ALLOWED_EXTRA_S + (ALLOWED_STAGING_S if profile != PLAIN else 0)
    wire_full, wire_ours = statistics.median(times.wire_full), statistics.median(times.wire_ours)
    seconds = (f"{full:.2f}", f"{baseline:.2f}", f"{applied:.2f}", f"{cleaned:.2f}")
    ratios = (f"{cleaned / baseline:.2f}", f"{allowed:.2f}", f"{full / cleaned:.1f}")
    return (*seconds, *ratios, f"{wire_full:,.0f}", f"{wire_ours:,.0f}", f"{command:.2f}")


if __name__ == "__main__":
    main()
