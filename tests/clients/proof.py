"""The proof that no client sees a broken repository: one mirror of ours, read while Tier 1 goes on without waiting."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence

import pytest

from tests.clients.announcing import announce
from tests.clients.repository import Repository
from tests.clients.rounds import Client, Round, Tier1Updates, read_again_and_again
from tests.clients.web import WebServer
from tests.support.world import Subscriber, World

GRACE_SECONDS = 5
BANDWIDTH = "1MB"
ROUNDS, ROUNDS_IN_FULL = 10, 200
SECONDS_PER_ROUND = 10
"""A round that takes longer than this on average means that something hangs."""


def need(programs: Sequence[str]) -> None:
    """Skip the test when one of `programs` is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def start_mirror(world: World, repository: Repository, *, bandwidth: str = BANDWIDTH) -> Subscriber:
    """Start a publisher of `repository` at its first version and a mirror of ours over a slow link, exact."""
    repository.step()
    world.profile = repository.profile
    world.start_publisher()
    subscriber = world.add_subscriber(
        profile=repository.profile,
        bandwidth=bandwidth,
        delete_grace=f"{GRACE_SECONDS}s",
        delete_budget={"count": 1000, "percent": 100, "limit": 100},
    )
    subscriber.start()
    subscriber.wait_exact(0)
    return subscriber


def prove(
    world: World, repository: Repository, make_client: Callable[[WebServer], Client], wanted_rounds: int
) -> list[Round]:
    """Read a mirror of ours at least `wanted_rounds` times while Tier 1 goes on; return all rounds within the grace.

    In at least half as many the mirror changed while the client was reading it, and deletions that had come due were
    done meanwhile. At the end the mirror is exact.
    """
    deadline = time.monotonic() + wanted_rounds * SECONDS_PER_ROUND + 30
    serials = [0]

    def is_enough(rounds: Sequence[Round]) -> bool:
        assert time.monotonic() < deadline, f"too slow: {summary(rounds)}\n{subscriber.program.log_tail()}"
        counted = within_grace(rounds)
        changed = sum(done.mirror_changed for done in counted)
        enough = len(counted) >= wanted_rounds and changed >= wanted_rounds / 2
        return enough and bool(subscriber.tree()["cleaned"])

    subscriber = start_mirror(world, repository)
    with (
        WebServer(subscriber.mirror) as web,
        Tier1Updates(repository, lambda changes: serials.append(announce(world, changes))) as updates,
    ):
        rounds = read_again_and_again(make_client(web), web, repository, subscriber.mirror, updates, is_enough)
    subscriber.wait_exact(serials[-1], deadline_seconds=GRACE_SECONDS + 60)
    subscriber.assert_exact()
    print(summary(rounds), f"serials: {serials[-1]}")
    return within_grace(rounds)


def within_grace(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds for which the promise holds: who takes longer than the grace may miss what was deleted."""
    return [done for done in rounds if done.duration_seconds < GRACE_SECONDS]


def summary(rounds: Sequence[Round]) -> str:
    """Return the numbers of `rounds` in one line."""
    longest = max((done.duration_seconds for done in rounds), default=0.0)
    return (
        f"rounds: {len(rounds)}, broken: {sum(done.broken for done in rounds)}, with something missing: "
        f"{sum(bool(done.refused) for done in rounds)}, Tier 1 moved in {sum(done.tier1_moved for done in rounds)}, "
        f"the mirror changed in {sum(done.mirror_changed for done in rounds)}, the longest took {longest:.1f} s,"
    )


def shown_faults(rounds: Sequence[Round]) -> list[str]:
    """Return a line for each round in which anything was wrong."""
    return [
        f"round {number} at version {done.version}: {'; '.join((*done.faults, *done.refused))}"
        for number, done in enumerate(rounds)
        if done.faults or done.refused
    ]
