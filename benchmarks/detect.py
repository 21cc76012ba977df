"""What it costs to find out what changed in a tree, beside looking at every file of it.

    python -m benchmarks.detect [--files 100000] [--files 1000000] [--changes 100] [--rounds 5]

In each round files are replaced by rename and others removed, as rsync does it. Then the tree is looked at in turn:
by a walk with ``stat`` of every file (in Python, as the scan is, and by find), by a scan, by ``publish --scan`` as a
command, and by ``publish --from-rsync`` with a log of those changes. At the end a publisher builds the index anew and
scans every second, and its peak memory is read. Times are seconds, the medians over the rounds.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.scoped import DELETED_SHARE, make_files
from pushmirror.core.paths import TreePath
from pushmirror.core.scanning import SETTLING_NS, Scope
from pushmirror.publisher.detect.announcing import Place, ScanResult, scan_and_announce
from pushmirror.publisher.detect.excludes import Excludes
from pushmirror.publisher.identity import Identity
from tests.publisher.daemon import Publisher
from tests.support.processes import run_pushmirror
from tests.support.waiting import wait_until

TREE = "debian"
ALLOWED_START_S = 0.1
WANTED_FACTOR = 20
ALLOWED_MB = 150


@dataclass
class Times:
    """Seconds of each round, and megabytes."""

    first_scan: float = 0.0
    memory_mb: float = 0.0
    walk: list[float] = field(default_factory=list)
    find: list[float] = field(default_factory=list)
    scan: list[float] = field(default_factory=list)
    scan_command: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    from_rsync: list[float] = field(default_factory=list)


def timed(function: Callable[[], object]) -> float:
    """Call a function; return how long it took."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def walk(root: Path) -> int:
    """Look at every name in a tree; return how many there are."""
    waiting, found = [os.fsencode(root)], 0
    while waiting:
        with os.scandir(waiting.pop()) as listing:
            for entry in listing:
                entry.stat(follow_symlinks=False)
                found += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


def find(root: Path) -> None:
    """Have find look at every name in a tree."""
    subprocess.run(["find", root, "-newermt", "2100-01-01"], check=True, stdout=subprocess.DEVNULL)


def change(root: Path, files: list[TreePath], count: int, chance: random.Random) -> bytes:
    """Replace some files and remove others, `count` in all; return the itemised log of an rsync that did it."""
    log = []
    for number, index in enumerate(sorted(chance.sample(range(len(files)), count), reverse=True)):
        path = files[index]
        full = os.path.join(os.fsencode(root), path)
        if number % DELETED_SHARE == 0:
            os.unlink(full)
            files.pop(index)
            log.append(b"*deleting   " + path)
        else:
            beside = full + b".new"
            with open(beside, "wb") as file:
                file.write(os.urandom(64))
            os.rename(beside, full)
            log.append(b">f.st...... " + path)
    return b"\n".join(log) + b"\n"


def scan(publisher: Publisher) -> ScanResult:
    """Scan a tree in this process."""
    identity = Identity("mirror.example.org", "org.example", "prod")
    place = Place(TREE, publisher.tree, Excludes(), publisher.state_dir, identity)
    return scan_and_announce(place, Scope(known=True))


def settle(publisher: Publisher) -> None:
    """Scan so late that what was just changed counts as settled, as it does when scans are minutes apart."""
    time.sleep(SETTLING_NS / 1e9 + 0.1)
    scan(publisher)


def measure_round(
    publisher: Publisher, files: list[TreePath], changes: int, chance: random.Random, times: Times
) -> None:
    """Change the tree twice, find that out in both ways of a scan, and compare."""
    log = change(publisher.tree, files, changes, chance)
    results: list[ScanResult] = []
    times.scan.append(timed(lambda: results.append(scan(publisher))))
    assert results[0].changed + results[0].deleted == changes, results
    times.walk.append(timed(lambda: walk(publisher.tree)))
    times.find.append(timed(lambda: find(publisher.tree)))
    times.from_rsync.append(timed(lambda: publish(publisher, "--from-rsync", "-", stdin=log)))
    times.start.append(timed(lambda: run_pushmirror("publish", "--help")))
    settle(publisher)
    change(publisher.tree, files, changes, chance)
    times.scan_command.append(timed(lambda: publish(publisher, "--scan")))
    settle(publisher)


def publish(publisher: Publisher, *arguments: str, stdin: bytes = b"") -> None:
    """Run ``pushmirror publish`` to its end, and see that it announced something."""
    done = publisher.publish(TREE, *arguments, stdin=stdin)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr.decode()


def measure_memory(publisher: Publisher, files: list[TreePath], changes: int, chance: random.Random) -> float:
    """Return the most memory, in megabytes, that a publisher takes to build the index and to scan afterwards."""
    for path in publisher.state_dir.iterdir():
        path.unlink()
    text = publisher.config.read_text()
    publisher.config.write_text(text.replace("max_clients: 20", "detect: {scan: 1s}"))
    with publisher.daemon() as daemon:
        for serial in (1, 2):
            daemon.wait_for_line(f"announced {TREE} serial {serial}", deadline_seconds=1800)
            change(publisher.tree, files, changes, chance)
        wait_until(lambda: f"announced {TREE} serial 3" in daemon.log_text(), deadline_seconds=600)
        status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def measure(count: int, changes: int, rounds: int, folder: Path) -> Times:
    """Return the times of all rounds for a tree of that many files."""
    times, chance = Times(), random.Random(count)
    publisher = Publisher(folder)
    files = make_files(publisher.tree, count)
    times.first_scan = timed(lambda: scan(publisher))
    settle(publisher)
    for _ in range(rounds):
        measure_round(publisher, files, changes, chance, times)
    times.memory_mb = measure_memory(publisher, files, changes, chance)
    return times


@click.command()
@click.option("--files", multiple=True, type=int, default=(100_000,), show_default=True)
@click.option("--changes", default=100, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(files: tuple[int, ...], changes: int, rounds: int) -> None:
    """Print a table, one row for each size of the tree."""
    columns = ("files", "changes", "walk", "find", "scan", "walk / scan", "find / scan", "`publish --scan`",
               "`--from-rsync`", "beyond the start", "first scan", "peak memory")  # fmt: skip
    table = Table(*columns, title="seconds, medians")
    for count in files:
        with tempfile.TemporaryDirectory(prefix="pushmirror-benchmark-") as folder:
            times = measure(count, changes, rounds, Path(folder))
        walked, found, scanned, command, started, logged = (
            statistics.median(values)
            for values in (times.walk, times.find, times.scan, times.scan_command, times.start, times.from_rsync)
        )
        table.add_row(
            f"{count:,}", f"{changes:,}", f"{walked:.2f}", f"{found:.2f}", f"{scanned:.3f}", f"{walked / scanned:.1f}",
            f"{found / scanned:.1f}", f"{command:.2f}", f"{logged:.2f}", f"{logged - started:.3f}",
            f"{times.first_scan:.1f}", f"{times.memory_mb:.0f} MB",
        )  # fmt: skip
    Console(width=160).print(table)
    print(f"wanted at 1,000,000: walk / scan at least {WANTED_FACTOR}, beyond the start at most {ALLOWED_START_S} s, "
          f"memory below {ALLOWED_MB} MB")  # fmt: skip


if __name__ == "__main__":
    main()
