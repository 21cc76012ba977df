"""How often a client meets a broken repository, by the way in which its mirror is kept.

    python -m benchmarks.clients [--seconds 75] [--bandwidth 1000000] [--only WORD]

A real apt repository goes from version to version at Tier 1 without waiting for anybody. A mirror follows over a slow
link, and a real apt client with an empty cache each time (update, then download of every package, over HTTP) reads the
mirror without pause. A round is broken when apt did not get everything: an index or a package was missing or was not
what an index said. Of a repository with indexes by hash, mirrors are kept by the ways in use and by ours; of one
without, by an ideal switch, as the floor, and by ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.clients.announcing import Changes, announce
from tests.clients.apt_client import AptClient
from tests.clients.deb_repository import DebRepository
from tests.clients.proof import GRACE_SECONDS, start_mirror
from tests.clients.rounds import Round, Tier1Updates, read_again_and_again
from tests.clients.web import WebServer
from tests.support.processes import clean_environment
from tests.support.world import World

VANISHED, PARTIAL = 24, 23
DEBIAN_INDEXES = ("Packages*", "Sources*", "Contents*", "Release*", "InRelease", "i18n/*", "ls-lR*")

PLAIN = (("-aH", "--delete"),)
ARCH = (("-rlptH", "--safe-links", "--delete-delay", "--delay-updates"),)
DEBIAN = (
    ("-rlptH", "--safe-links", "--include=by-hash/", *(f"--exclude={name}" for name in DEBIAN_INDEXES)),
    ("-rlptH", "--safe-links", "--delay-updates", "--delete", "--delete-delay", "--delete-excluded"),
)


@dataclass
class Kept:
    """A mirror: the folder that is served, what is done after each version at Tier 1, and how often it was synced."""

    served: Path
    announce: Callable[[Changes], object]
    syncs: Callable[[], int]


Keeper = Callable[[World, DebRepository, int], contextlib.AbstractContextManager[Kept]]


@dataclass(frozen=True)
class Variant:
    """One way to keep a mirror of a repository, with or without indexes by hash."""

    name: str
    by_hash: bool
    keep: Keeper


@dataclass(frozen=True)
class Result:
    """What the clients of one variant met."""

    rounds: Sequence[Round]
    versions: int
    syncs: int


def rsync_in_a_loop(*stages: Sequence[str]) -> Keeper:
    """Return a keeper that runs rsync with the options of each of `stages`, again and again without pause."""

    @contextlib.contextmanager
    def keep(world: World, repository: DebRepository, bandwidth_bytes: int) -> Iterator[Kept]:
        repository.step()
        mirror = world.folder / "mirror"
        mirror.mkdir()
        stopping, syncs = threading.Event(), [0]
        errors: list[BaseException] = []

        def sync() -> None:
            for options in stages:
                run_rsync(*options, f"--bwlimit={bandwidth_bytes}B", world.source, f"{mirror}/")
            syncs[0] += 1

        def loop() -> None:
            try:
                while not stopping.is_set():
                    sync()
            except BaseException as error:
                errors.append(error)

        sync()
        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield Kept(mirror, lambda changes: None, lambda: syncs[0])
        finally:
            stopping.set()
            thread.join()
        if errors:
            raise errors[0]

    return keep


def run_rsync(*arguments: str) -> None:
    """Run rsync to its end, as cron does: what vanished meanwhile or went wrong in part is left to the next time."""
    done = subprocess.run(["rsync", *arguments], env=clean_environment(), capture_output=True, timeout=120, check=False)
    assert done.returncode in (0, PARTIAL, VANISHED), done.stderr.decode(errors="replace")


@contextlib.contextmanager
def ideal_switch(world: World, repository: DebRepository, bandwidth_bytes: int) -> Iterator[Kept]:
    """Keep a mirror that nobody can keep: at once, and all indexes switched by one rename.

    Packages are there before, and go after the grace, as ours do. What still breaks is the floor for anybody.
    """
    mirror = world.folder / "mirror"
    mirror.mkdir()
    switched = [0]
    doomed: list[tuple[float, Path]] = []

    def switch(changes: Changes) -> None:
        pool = [os.fsdecode(path) for path in changes.put if path.startswith(b"pool/")]
        for name in pool:
            (mirror / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(world.tree / name, mirror / name)
        switched[0] += 1
        shutil.copytree(world.tree / "dists", mirror / f"dists-{switched[0]}")
        (mirror / "new").symlink_to(f"dists-{switched[0]}")
        (mirror / "new").rename(mirror / "dists")
        now = time.monotonic()
        gone = (mirror / os.fsdecode(path) for path in changes.deleted if path.startswith(b"pool/"))
        doomed.extend((now + GRACE_SECONDS, path) for path in gone)
        while doomed and doomed[0][0] < now:
            doomed.pop(0)[1].unlink()

    repository.step()
    shutil.copytree(world.tree / "pool", mirror / "pool")
    switch(Changes((), ()))
    yield Kept(mirror, switch, lambda: switched[0] - 1)


@contextlib.contextmanager
def pushmirror(world: World, repository: DebRepository, bandwidth_bytes: int) -> Iterator[Kept]:
    """Keep a mirror by a publisher and a subscriber of ours."""
    subscriber = start_mirror(world, repository, bandwidth=f"{bandwidth_bytes}B")
    serials = [0]

    def tell(changes: Changes) -> None:
        serials[0] = announce(world, changes)

    yield Kept(subscriber.mirror, tell, lambda: subscriber.program.log_text().count("switched") - 1)
    subscriber.wait_exact(serials[0], deadline_seconds=GRACE_SECONDS + 60)
    subscriber.assert_exact()


VARIANTS = (
    Variant("plain: rsync -aH --delete", True, rsync_in_a_loop(*PLAIN)),
    Variant("Arch: --delete-delay --delay-updates", True, rsync_in_a_loop(*ARCH)),
    Variant("Debian: two stages", True, rsync_in_a_loop(*DEBIAN)),
    Variant("pushmirror", True, pushmirror),
    Variant("an ideal instant switch (the floor)", False, ideal_switch),
    Variant("pushmirror", False, pushmirror),
)


def measure(variant: Variant, seconds: float, bandwidth_bytes: int) -> Result:
    """Read a mirror kept in this way for so many seconds."""
    with tempfile.TemporaryDirectory(prefix="pushmirror-benchmark-") as name, World(Path(name)) as world:
        repository = DebRepository(world.tree, world.folder / "building", by_hash=variant.by_hash)
        with variant.keep(world, repository, bandwidth_bytes) as kept, WebServer(kept.served) as web:
            client = AptClient(web.url, world.folder / "apt", repository.names)
            end = time.monotonic() + seconds
            first = kept.syncs()
            with Tier1Updates(repository, kept.announce) as updates:
                rounds = read_again_and_again(
                    client, web, repository, kept.served, updates, lambda _: time.monotonic() > end
                )
            return Result(rounds, repository.version - 1, kept.syncs() - first)


def add_row(table: Table, variant: Variant, result: Result) -> None:
    """Add what `result` says to the table."""
    rounds = result.rounds
    changed = [done for done in rounds if done.mirror_changed]
    broken = [done for done in rounds if done.broken]
    table.add_row(
        variant.name, "yes" if variant.by_hash else "no", f"{len(rounds)}", f"{len(broken)}",
        f"{len(changed)}", f"{sum(done.broken for done in changed)}", f"{result.versions}", f"{result.syncs}",
    )  # fmt: skip


def show_faults(console: Console, variant: Variant, result: Result, count: int) -> None:
    """Print what the client said in the first broken rounds."""
    for done in [done for done in result.rounds if done.broken][:count]:
        more = f" and {len(done.faults) - 1} more" if len(done.faults) > 1 else ""
        console.print(f"{variant.name}, version {done.version}: {done.faults[0]}{more}", markup=False, soft_wrap=True)


@click.command()
@click.option("--seconds", default=75.0, show_default=True, help="How long each mirror is read.")
@click.option("--bandwidth", default=1_000_000, show_default=True, help="Bytes a second of the link to Tier 1.")
@click.option("--only", default="", metavar="WORD", help="Only the rows with this word in their name.")
@click.option("--faults", default=0, show_default=True, help="Show so many broken rounds of each row.")
def main(seconds: float, bandwidth: int, only: str, faults: int) -> None:
    """Print a table, one row for each way to keep a mirror."""
    columns = ("how the mirror is kept", "by hash", "rounds", "broken", "it changed during", "of these broken",
               "versions at Tier 1", "syncs")  # fmt: skip
    table = Table(*columns, box=MARKDOWN)
    console = Console(width=160)
    for variant in track(
        [variant for variant in VARIANTS if only in variant.name], "reading", console=Console(stderr=True)
    ):
        result = measure(variant, seconds, bandwidth)
        add_row(table, variant, result)
        show_faults(console, variant, result, faults)
    console.print(table)


if __name__ == "__main__":
    main()
