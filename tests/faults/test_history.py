"""Long absences, and state that is gone or older than it should be, on either side."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pushmirror.control.client import ask
from pushmirror.core.messages import UPDATED
from pushmirror.core.model import ChangeList
from pushmirror.keys import generate_key_file
from tests.faults.scene import Scene
from tests.support.bus import FakePublisher
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.world import PUBLISHER, TREE

pytestmark = pytest.mark.slow
MIRRORS = 2


def empty(folder: Path) -> None:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def replace(folder: Path, backup: Path) -> None:
    """Bring a folder back to what it was."""
    empty(folder)
    shutil.copytree(backup, folder, dirs_exist_ok=True)


def test_a_subscriber_that_was_off_for_a_thousand_announcements_catches_up_in_few_jobs(
    tmp_path: Path, full: bool
) -> None:
    """What was missed is fetched page by page, and merged into as few jobs as what is told all at once."""
    with Scene(tmp_path, seed=51) as scene:
        (subscriber,) = scene.begin()
        subscriber.program.terminate()
        for _ in range(1000 if full else 100):
            scene.change()
        before = len(subscriber.program.log_text())
        subscriber.start()
        scene.end_exact()
        assert subscriber.program.log_text()[before:].count("applied serial") <= 5


def test_a_publisher_installed_anew_costs_every_mirror_one_full_sync(tmp_path: Path) -> None:
    """Its journal is gone, its serials begin again: a younger epoch, which voids all that was known."""
    with Scene(tmp_path, seed=52) as scene:
        subscribers = scene.begin(MIRRORS)
        for _ in range(5):
            scene.change()
        scene.end_exact()
        epoch = subscribers[0].tree()["epoch"]
        scene.forget_walks()
        scene.publisher.terminate()
        empty(scene.publisher_folder / "state")
        scene.edit()
        scene.start_publisher()
        for subscriber in subscribers:
            subscriber.wait_for("the new epoch", lambda tree: tree["epoch"] not in (None, epoch))
        for _ in range(3):
            scene.change()
        assert scene.serials[-1] == 3
        scene.end_exact(full_syncs=MIRRORS)


BEHIND, LEVEL, AHEAD = 2, 4, 8


@pytest.mark.parametrize("changes", [BEHIND, pytest.param(LEVEL, marks=pytest.mark.full), AHEAD])
def test_a_journal_restored_from_an_hour_ago_is_found_out(tmp_path: Path, changes: int) -> None:
    """Serials that were used once are used again for something else, be they fewer, as many or more than before."""
    with Scene(tmp_path, seed=53) as scene:
        subscribers = scene.begin(MIRRORS)
        subscribers[0].wait_exact(scene.change())
        scene.publisher.terminate()
        state, backup = scene.publisher_folder / "state", tmp_path / "an hour ago"
        shutil.copytree(state, backup)
        scene.start_publisher()
        for _ in range(4):
            scene.change()
        scene.end_exact()
        epoch = subscribers[0].tree()["epoch"]
        scene.forget_walks()
        scene.publisher.terminate()
        replace(state, backup)
        for _ in range(changes):
            scene.change()
        scene.start_publisher()
        for subscriber in subscribers:
            subscriber.wait_for("the new epoch", lambda tree: tree["epoch"] not in (None, epoch))
        scene.change()
        scene.end_exact(full_syncs=MIRRORS)


def test_a_restored_journal_is_found_out_by_a_mirror_that_was_off_meanwhile(tmp_path: Path) -> None:
    """What it heard last is contradicted by the history that it asks for when it is back."""
    with Scene(tmp_path, seed=54) as scene:
        (subscriber,) = scene.begin()
        scene.publisher.terminate()
        state, backup = scene.publisher_folder / "state", tmp_path / "an hour ago"
        shutil.copytree(state, backup)
        scene.start_publisher()
        for _ in range(3):
            scene.change()
        scene.end_exact()
        epoch = subscriber.tree()["epoch"]
        scene.forget_walks()
        subscriber.program.terminate()
        scene.publisher.terminate()
        replace(state, backup)
        scene.start_publisher()
        for _ in range(6):
            scene.change()
        subscriber.start()
        subscriber.wait_for("the new epoch", lambda tree: tree["epoch"] not in (None, epoch))
        scene.change()
        scene.end_exact(full_syncs=1)


def test_a_deleted_ledger_costs_one_full_sync(tmp_path: Path) -> None:
    """Nothing is known of what the mirror holds; it is compared once, and nothing is brought that is there."""
    with Scene(tmp_path, seed=55) as scene:
        (subscriber,) = scene.begin()
        for _ in range(5):
            scene.change()
        scene.end_exact()
        scene.forget_walks()
        subscriber.program.terminate()
        empty(subscriber.folder / "state")
        # A folder of which nothing is known is compared by whole seconds: who knows what has written it?
        second = int(time.time())
        wait_until(lambda: int(time.time()) > second, what="the next second")
        for _ in range(3):
            scene.change()
        subscriber.start()
        tree = subscriber.wait_exact(scene.serials[-1])
        assert tree["last_sync"]["files"] <= 3
        scene.end_exact(full_syncs=1)


def test_a_ledger_restored_from_yesterday_catches_up_by_the_history(tmp_path: Path) -> None:
    """It asks for updates that the mirror has already: they are listed once more, and no tree is walked."""
    with Scene(tmp_path, seed=56) as scene:
        (subscriber,) = scene.begin()
        for _ in range(5):
            scene.change()
        scene.end_exact()
        subscriber.program.terminate()
        state, backup = subscriber.folder / "state", tmp_path / "yesterday"
        shutil.copytree(state, backup)
        subscriber.start()
        for _ in range(20):
            scene.change()
        scene.end_exact()
        subscriber.program.terminate()
        replace(state, backup)
        for _ in range(3):
            scene.change()
        subscriber.start()
        scene.end_exact()


def show_header(scene: Scene, body: bytes) -> int:
    """Show the publisher's service a header, as anybody may; return the status of the answer."""
    request = urllib.request.Request(f"{scene.service_url}/v1/headers", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def held_header(scene: Scene) -> bytes:
    """Return the first header that the publisher's history holds."""
    epoch = ask(scene.publisher_folder / "control.sock", {"command": "status"})["epoch"]
    url = f"{scene.service_url}/v1/trees/{TREE}/updates?epoch={epoch}&after=0&limit=1"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.dumps(json.loads(answer.readline())["update"]).encode()


def test_nobody_who_has_no_proof_can_make_a_publisher_begin_anew(tmp_path: Path) -> None:
    """Neither what it holds, nor what another key has signed, nor nonsense makes an epoch or costs a full sync."""
    with Scene(tmp_path, seed=57) as scene:
        (subscriber,) = scene.begin()
        subscriber.wait_exact(scene.change())
        epoch = subscriber.tree()["epoch"]
        held = held_header(scene)
        generate_key_file(tmp_path / "stranger", PUBLISHER)
        with FakePublisher(f"tcp://127.0.0.1:{free_port()}", PUBLISHER, tmp_path / "stranger") as stranger:
            forged = stranger.update(TREE, 1, ChangeList(), epoch=epoch, root_mtime_ns=1)
            shown = [held, stranger.sealed(UPDATED, forged), held.replace(b'"serial": 1', b'"serial": 2'), b"{}", b""]
        codes = [show_header(scene, body) for body in shown]
        assert codes[0] < 300 and min(codes[1:]) >= 400
        subscriber.wait_exact(scene.change())
        assert subscriber.tree()["epoch"] == epoch
        scene.end_exact()
