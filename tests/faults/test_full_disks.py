"""Disks without a free byte: the publisher's state, the subscriber's state, the mirror itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scene import BALLAST_BYTES, Scene
from tests.support.small_disk import SmallDisk

pytestmark = pytest.mark.slow
SPARE_BYTES = 2 << 20
CHANGES = 8


def test_a_publisher_whose_disk_is_full_refuses_to_announce_and_loses_nothing(tmp_path: Path) -> None:
    """``publish`` says so, prints no serial and leaves nothing half-written; with room again it goes on at once."""
    with Scene(tmp_path, seed=71) as scene, SmallDisk(scene.publisher_folder / "state", SPARE_BYTES) as disk:
        scene.begin()
        serial = scene.change()
        disk.fill()
        refused = []
        for _ in range(CHANGES):
            arguments = scene.edit()
            code, printed, complaint = scene.try_to_announce(*arguments)
            if code == 0:  # what the file has room for still goes in
                scene.note_serial(printed)
                continue
            refused.append(arguments)
            assert (code, printed) == (1, "")
            assert "nothing was announced; make room on that disk" in complaint
        assert refused
        disk.make_room()
        for arguments in refused:
            serial = scene.announce(*arguments)
        assert serial == CHANGES + 1, "no serial was used up by what was refused"
        scene.end_exact()


def test_a_mirror_whose_disk_is_full_says_so_and_is_made_right_when_there_is_room(tmp_path: Path) -> None:
    """The daemon goes on and tries again by itself; nothing counts as applied before."""
    with Scene(tmp_path, seed=72) as scene:
        scene.start_publisher()
        subscriber = scene.add_subscriber()
        with SmallDisk(subscriber.mirror, BALLAST_BYTES + SPARE_BYTES) as disk:
            subscriber.settings["trees"]["demo"]["exclude"] = ["/filler"]
            scene.start_mirrors()
            applied = subscriber.wait_exact(scene.change())["applied"]
            disk.fill()
            large = scene.tree / "large"
            large.write_bytes(scene.chance.randbytes(SPARE_BYTES // 2))
            scene.announce("--path", "large")
            scene.change()
            tree = subscriber.wait_for("the failure", lambda tree: tree["reason"])
            assert tree["applied"] == applied
            disk.make_room()
            scene.end_exact(deadline_seconds=90)
            subscriber.program.terminate()


def test_a_subscriber_whose_own_disk_is_full_takes_no_harm(tmp_path: Path) -> None:
    """What cannot be noted is not believed either: with room again it is asked for and applied."""
    with Scene(tmp_path, seed=73) as scene:
        scene.start_publisher()
        subscriber = scene.add_subscriber()
        with SmallDisk(subscriber.folder / "state", SPARE_BYTES) as disk:
            scene.start_mirrors()
            subscriber.wait_exact(scene.change())
            disk.fill()
            before = len(subscriber.program.log_text())
            for _ in range(CHANGES):
                scene.change()
                scene.linger(0.5)
            # What the file has room for still goes in, so that the disk is filled by what comes.
            subscriber.program.wait_for_line("the ledger cannot be written", after=before, deadline_seconds=30)
            assert subscriber.program.running
            disk.make_room()
            scene.end_exact(deadline_seconds=120)
            subscriber.program.terminate()
            assert "Traceback" not in subscriber.program.log_text()
