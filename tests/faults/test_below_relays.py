"""A journal that is restored from a backup, while those who know better can talk to relays alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.scene import Scene
from tests.faults.test_history import empty, replace
from tests.support.world import TREE, Subscriber

pytestmark = pytest.mark.slow
LOST = 4


def chain(scene: Scene, tiers: int) -> list[Subscriber]:
    """Return mirrors that run, each below the one before it; the last one relays nothing."""
    scene.start_publisher()
    mirrors: list[Subscriber] = []
    for tier in range(1, tiers + 1):
        mirror = scene.add_subscriber(f"tier{tier + 1}.example.net")
        if mirrors:
            mirror.follow(mirrors[-1])
        if tier < tiers:
            mirror.make_relay()
        mirror.start()
        mirror.wait_exact(0)
        mirrors.append(mirror)
    return mirrors


@pytest.mark.parametrize("tiers", [2, pytest.param(3, marks=pytest.mark.full)])
def test_a_restored_journal_is_found_out_by_a_mirror_that_never_talks_to_its_publisher(
    tmp_path: Path, tiers: int
) -> None:
    """All relays between have lost their ledgers, so that the leaf alone has what the publisher signed and lost."""
    with Scene(tmp_path, seed=58) as scene:
        *relays, leaf = chain(scene, tiers)
        leaf.wait_exact(scene.change())
        scene.publisher.terminate()
        state, backup = scene.publisher_folder / "state", tmp_path / "an hour ago"
        shutil.copytree(state, backup)
        scene.start_publisher()
        for _ in range(LOST):
            scene.change()
        leaf.wait_exact(scene.serials[-1])
        epoch = leaf.tree()["epoch"]
        for relay in relays:
            relay.program.terminate()
            empty(relay.folder / "state")
        scene.publisher.terminate()
        replace(state, backup)
        scene.start_publisher()
        for relay in relays:
            relay.start()
        for mirror in (*relays, leaf):
            mirror.wait_for("the new epoch", lambda tree: tree["epoch"] not in (None, epoch))
        serial = scene.change()
        for mirror in (*relays, leaf):
            mirror.wait_exact(serial)
            mirror.assert_exact()
        assert scene.publisher.log_text().count("the journal is a copy from before") == 1


def test_a_restored_journal_is_found_out_by_what_a_relay_was_told_when_it_asked(tmp_path: Path) -> None:
    """Neither the relay nor the leaf has heard an update: they began with what the publisher said of itself."""
    with Scene(tmp_path, seed=59) as scene:
        scene.start_publisher()
        scene.publisher.terminate()
        state, backup = scene.publisher_folder / "state", tmp_path / "an hour ago"
        shutil.copytree(state, backup)
        for _ in range(LOST):
            scene.change()
        relay, leaf = scene.add_subscriber("relay.example.net"), scene.add_subscriber("leaf.example.net")
        relay.make_relay()
        leaf.follow(relay)
        scene.start_publisher()
        scene.publisher.wait_for_line(f"announced {TREE} serial {LOST}")
        for mirror in (relay, leaf):
            mirror.start()
            mirror.wait_exact(LOST)
        epoch = leaf.tree()["epoch"]
        scene.publisher.terminate()
        replace(state, backup)
        scene.start_publisher()
        for mirror in (relay, leaf):
            mirror.wait_for("the new epoch", lambda tree: tree["epoch"] not in (None, epoch))
        serial = scene.change()
        for mirror in (relay, leaf):
            mirror.wait_exact(serial)
            mirror.assert_exact()
