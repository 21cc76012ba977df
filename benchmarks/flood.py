"""What a flood at both daemons costs those who work meanwhile.

    python -m benchmarks.flood [--frames 100000] [--rate 2000] [--requests 100000] [--requests-rate 2000]

An attacker stands between a publisher and its subscriber, and is two relays of that as well; he sends hostile messages
of every sort on all three connections. Another one asks the publisher from eight addresses. Honest changes are made
meanwhile, one after the other; their time is from the announcement to the place, before the flood and during it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click

from tests.hostile.siege import Probe, Scale, Seen, Siege
from tests.support.world import World

USUAL = 20


def measure(scale: Scale) -> Seen:
    """Return what is seen of one flood."""
    with tempfile.TemporaryDirectory(prefix="pushmirror-benchmark-") as folder, World(Path(folder)) as world:
        (world.tree / "file").write_text("content")
        world.start_publisher()
        siege = Siege(world, Path(folder))
        try:
            return siege.withstand(scale, usual=USUAL)
        finally:
            siege.close()


def describe_probe(name: str, probe: Probe) -> str:
    """Return what was seen of one daemon."""
    return (
        f"{name}: {probe.asked} times asked for its status, slowest {1000 * probe.slowest_s:.0f} ms; memory grew by"
        f" {probe.grown_bytes / 1e6:.1f} MB, the log by {probe.logged_bytes} bytes"
    )


def describe_times(times_ms: list[int]) -> str:
    """Return how many changes there were, and how long they took."""
    return f"{len(times_ms)} changes, median {statistics.median(times_ms):.0f} ms, slowest {max(times_ms)} ms"


@click.command()
@click.option("--frames", default=100_000, show_default=True)
@click.option("--rate", default=2_000, show_default=True)
@click.option("--requests", default=100_000, show_default=True)
@click.option("--requests-rate", default=2_000, show_default=True)
def main(frames: int, rate: int, requests: int, requests_rate: int) -> None:
    """Print what was seen."""
    seen = measure(Scale(frames, rate, requests, requests_rate))
    click.echo(f"{seen.seconds:.0f} s; messages {seen.sent}, dropped {seen.dropped}; answers {seen.answers}")
    click.echo(f"without a flood: {describe_times(seen.usual_ms)}")
    click.echo(f"meanwhile: {describe_times(seen.during_ms)}")
    click.echo(f"connections to rsync: {seen.connections}; heartbeats: {seen.heartbeats} in {seen.seconds:.0f} s")
    click.echo(describe_probe("subscriber", seen.subscriber))
    click.echo(describe_probe("publisher", seen.publisher))


if __name__ == "__main__":
    main()
