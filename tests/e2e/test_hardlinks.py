"""Files with several names that change while they are brought."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.compare import differences
from tests.support.waiting import wait_until
from tests.support.world import World

pytestmark = pytest.mark.slow

LARGE_BYTES = 3_000_000
TIME_NS = 1_700_000_000_000_000_001


def test_metadata_that_was_two_files_becomes_one(tmp_path: Path) -> None:
    """Also when one of them need not be brought: what it is linked to is."""
    with World(tmp_path) as world:
        world.profile = "rpm"
        for name in (".treeinfo", "repodata/f"):
            (world.tree / name).parent.mkdir(exist_ok=True)
            (world.tree / name).write_text(name)
        world.start_publisher()
        subscriber = world.add_subscriber(profile="rpm", delete_grace="0s")
        subscriber.start()
        subscriber.wait_exact(0)
        (world.tree / ".treeinfo").unlink()
        os.link(world.tree / "repodata" / "f", world.tree / ".treeinfo")
        subscriber.wait_exact(world.publish("--whole-tree"))
        subscriber.assert_exact()


@pytest.mark.parametrize("scope", ["list", "whole"])
@pytest.mark.parametrize("replaced", ["x", "y"])
def test_a_name_that_is_replaced_before_it_is_sent_gives_the_other_nothing(
    tmp_path: Path, scope: str, replaced: str
) -> None:
    """rsync sends a file by one of the names under which it listed it; the other ends with the content of its own."""
    with World(tmp_path) as world:
        (world.tree / "settled").write_text("settled")
        world.start_publisher()
        subscriber = world.add_subscriber(bandwidth="1MB")
        subscriber.start()
        subscriber.wait_exact(0)
        (world.tree / "a large file first").write_bytes(os.urandom(LARGE_BYTES))
        (world.tree / "x").write_text("one")
        os.utime(world.tree / "x", ns=(TIME_NS, TIME_NS))
        os.link(world.tree / "x", world.tree / "y")
        given = ["--path", "a large file first", "--path", "x", "--path", "y"] if scope == "list" else ["--whole-tree"]
        world.publish(*given)
        temporary = subscriber.mirror / ".~pushmirror~" / "tmp"
        wait_until(lambda: temporary.is_dir() and any(temporary.iterdir()), what="rsync writes")
        (world.tree / "beside").write_text("two")
        os.utime(world.tree / "beside", ns=(TIME_NS, TIME_NS + 1))
        (world.tree / "beside").rename(world.tree / replaced)
        serial = world.publish("--path", replaced)
        subscriber.wait_exact(serial)
        assert differences(world.tree, subscriber.mirror) == []
