"""Whatever is edited, announced and interrupted in whatever order: when all is cleaned, the mirrors are exact."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.e2e.field import GENEROUS, Field
from tests.support.edits import Editor, Shape
from tests.support.world import World

SEED = os.environ.get("PUSHMIRROR_SEED", "1")
"""Another one gives other sequences; a failing test says by which it is repeated."""
SEQUENCES, FULL_SEQUENCES, WORLDS = 16, 24, 30

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def settings(profile: str, chance: random.Random) -> list[dict[str, object]]:
    """Return the settings of the mirrors of one world: one that is quick, and one that gathers and is slow."""
    common = {"profile": profile, "delete_budget": GENEROUS, "missing_wait": chance.choice(("0s", "2s", "10m"))}
    grace = chance.choice(("0s", "500ms", "1s")) if profile != "plain" else chance.choice(("0s", "0s", "700ms"))
    quick = {**common, "coalesce": "0s", "delete_grace": "0s"}
    slow = {**common, "coalesce": chance.choice(("0s", "200ms", "600ms")), "delete_grace": grace}
    return [quick, {**slow, "bandwidth": chance.choice(("1MB", "10MB"))}]


@pytest.mark.parametrize("profile", ["plain", "rpm", "deb"])
@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, WORLDS))])
def test_mirrors_are_exact_whenever_they_say_so(tmp_path: Path, full: bool, profile: str, number: int) -> None:
    """Random edits and announcements, with mirrors at work, paused, stopped and killed: then nothing differs."""
    seed = f"{SEED}/{profile}/{number}"
    chance = random.Random(seed)
    shape = Shape(profile)
    below, use_chroot = chance.choice(("", "linux/sub")), chance.random() < 0.3 and os.geteuid() == 0
    with World(tmp_path, below=below, use_chroot=use_chroot) as world:
        world.profile = profile
        Editor(world.tree, shape, chance).edit(150, in_place=True)
        world.start_publisher()
        mirrors = [
            world.add_subscriber(f"{name}.example.net", **one)
            for name, one in zip(("quick", "slow"), settings(profile, chance), strict=True)
        ]
        for mirror in mirrors:
            mirror.start()
        field = Field(world, mirrors, shape, chance)
        field.compare()
        for index in range(FULL_SEQUENCES if full else SEQUENCES):
            try:
                field.sequence()
            except AssertionError as error:
                how = f"seed {seed}, sequence {index}: repeat by PUSHMIRROR_SEED={SEED} pytest -k '{number}-{profile}'"
                raise AssertionError(f"{how}\n{error}\n{field.story()}") from None
