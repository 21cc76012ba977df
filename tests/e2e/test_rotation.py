"""A publisher goes over to other keys, with real processes: who follows, who does not, who was away."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.core.messages import UPDATED
from pushmirror.core.model import ChangeList, Head
from pushmirror.core.paths import TreePath
from pushmirror.core.rotation import ROTATED, Rotation, format_rotation
from pushmirror.keys import generate_key_file, load_private_key, parse_public_line, seal
from pushmirror.publisher.identity import Identity
from pushmirror.publisher.rotating import Rotator
from tests.support.bus import EPOCH, FakePublisher, now_ms
from tests.support.processes import run_pushmirror
from tests.support.waiting import wait_until
from tests.support.world import PUBLISHER, TREE, Subscriber, World

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        yield world


def add(world: World, name: str, *, accept: bool, keys: list[str] | None = None) -> Subscriber:
    """Return a subscriber that is not started yet."""
    subscriber = world.add_subscriber(name)
    upstream = subscriber.settings["upstreams"][PUBLISHER]
    upstream["accept_rotation"] = accept
    upstream["keys"] = keys or upstream["keys"]
    return subscriber


def rotate(world: World, overlap: str) -> str:
    """Exchange the key with the real command; returns the new public line."""
    done = run_pushmirror("rotate-key", "--overlap", overlap, "--config", world.publisher_config)
    assert done.returncode == 0, done.stderr.decode()
    return parse_public_line(done.stdout.decode().strip()).line


def publish(world: World, content: str) -> int:
    (world.tree / "file").write_text(content)
    return world.publish("--path", "file")


def keys(subscriber: Subscriber) -> dict[str, Any]:
    """Return what its status tells of keys."""
    found: dict[str, Any] = subscriber.status()["upstreams"][PUBLISHER]["keys"]
    return found


def full_syncs(subscriber: Subscriber) -> int:
    """Return how many jobs covered the whole tree."""
    return sum(job["scope"] == "whole" for job in subscriber.ask("history")["jobs"])


def test_everybody_hears_in_the_overlap_and_after_it_those_who_follow(world: World) -> None:
    """One accepts rotations, one does not and is told so, and one was told the new key by hand."""
    world.start_publisher()
    first = world.publisher_key.line
    following, pinned = add(world, "following", accept=True), add(world, "pinned", accept=False)
    for subscriber in (following, pinned):
        subscriber.start()
        subscriber.wait_exact(0)

    second = rotate(world, "1h")
    newcomer = add(world, "newcomer", accept=False, keys=[second])
    newcomer.start()
    newcomer.wait_exact(0)
    serial = publish(world, "one")
    for subscriber in (following, pinned, newcomer):
        subscriber.wait_exact(serial)
        assert (subscriber.mirror / "file").read_text() == "one"
    assert (keys(following)["believed"], keys(pinned)["believed"]) == ([first, second], [first])
    (offered,) = keys(pinned)["rotations"]
    assert (offered["new"], offered["followed"]) == (second, False)
    assert "which is not followed here" in " ".join(pinned.command("status").split())

    third = rotate(world, "0s")
    shown = json.loads(run_pushmirror("status", "--json", "--config", world.publisher_config).stdout)["keys"]
    assert (shown["newest"], shown["before"], shown["rotations"]) == (third, [], 2)
    wait_until(lambda: keys(following)["believed"] == [third], what="the second rotation is followed")
    before = pinned.dropped()["signature"]
    serial = publish(world, "two")
    following.wait_exact(serial)
    following.assert_exact()
    wait_until(lambda: pinned.dropped()["signature"] > before, what="the key is refused by whoever has not added it")
    assert pinned.tree()["announced"] == newcomer.tree()["announced"] == serial - 1


def test_who_was_off_learns_of_two_rotations_and_misses_nothing(world: World) -> None:
    """The service tells of them, and hands the history out under the key of now: no full sync."""
    world.start_publisher()
    away = add(world, "away", accept=True)
    away.start()
    away.wait_exact(publish(world, "one"))
    away.program.terminate()
    for content in ("two", "three"):
        publish(world, content)
        newest = rotate(world, "0s")
    serial = publish(world, "four")
    away.start()
    away.wait_exact(serial, deadline_seconds=90)
    away.assert_exact()
    assert (keys(away)["believed"], full_syncs(away)) == ([newest], 1)
    assert "Traceback" not in away.program.log_text() + world.publisher.log_text()


def test_a_relay_tells_those_below_of_the_new_key(world: World) -> None:
    """They hear nobody else; what the relay kept under the old key they have already."""
    world.start_publisher()
    relay = add(world, "relay", accept=True)
    relay.make_relay()
    relay.start()
    below = add(world, "below", accept=True)
    below.follow(relay)
    below.start()
    below.wait_exact(publish(world, "one"))
    new = rotate(world, "0s")
    serial = publish(world, "two")
    relay.wait_exact(serial)
    below.wait_exact(serial, deadline_seconds=90)
    assert keys(below)["believed"] == [new]
    url = f"{relay.settings['relay']['service']}/v1/keys/{PUBLISHER}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert len(answer.read().splitlines()) == 1
    assert full_syncs(below) == 1


def test_a_publisher_goes_on_after_a_crash_between_two_steps(world: World) -> None:
    """It is started in the state that the crash left, with the public half of another key than the private one; the
    rotation is finished later."""

    class Crash(BaseException):
        pass

    def crash(reached: str) -> None:
        if reached == "public":
            raise Crash

    identity = Identity(PUBLISHER, "org.example", "test")
    folder = world.publisher_folder
    with pytest.raises(Crash):
        Rotator(folder / "key", folder / "state", identity, 3_600_000, now_ms, crash).rotate()
    world.start_publisher()
    following, pinned = add(world, "following", accept=True), add(world, "pinned", accept=False)
    for subscriber in (following, pinned):
        subscriber.start()
    serial = publish(world, "one")
    for subscriber in (following, pinned):
        subscriber.wait_exact(serial)
    new = rotate(world, "1h")
    assert keys(following)["believed"] == [world.publisher_key.line, new]
    serial = publish(world, "two")
    for subscriber in (following, pinned):
        subscriber.wait_exact(serial)


def test_nobody_without_the_old_key_leads_a_subscriber_astray(world: World, tmp_path: Path) -> None:
    """Signed by itself, by nobody, with a stranger's signature under the old key: each is counted; and what is signed
    with such a key later starts no job. A rotation that was recorded is nothing when it is replayed."""
    generate_key_file(tmp_path / "evil", "evil")
    generate_key_file(tmp_path / "new", "new")
    evil, new = load_private_key(tmp_path / "evil"), load_private_key(tmp_path / "new")
    with FakePublisher(world.publish_endpoint, PUBLISHER, world.publisher_folder / "key") as publisher:
        subscriber = add(world, "following", accept=True)
        subscriber.start()
        old = publisher.key.public.line

        def first_sync_is_done() -> bool:
            publisher.send_heartbeat({TREE: Head(EPOCH, 0, None)})
            return subscriber.tree()["applied"] == 0 and subscriber.tree()["state"] == "idle"

        wait_until(first_sync_is_done, deadline_seconds=60, what="the first sync")
        jobs = len(subscriber.ask("history")["jobs"])

        def exchange(to: str) -> bytes:
            rotation = Rotation(PUBLISHER, old, to, now_ms(), 3_600_000)
            return publisher.signed(ROTATED, format_rotation(rotation))

        before = subscriber.dropped()["signature"]
        signed = exchange(evil.public.line)
        forged = seal(signed, evil).replace(evil.public.line.encode(), old.encode())
        for body in (seal(signed, evil), forged, signed):
            publisher.send(ROTATED, body)
        update = publisher.update(TREE, 1, ChangeList(changed=(TreePath(b"file"),)))
        publisher.send(UPDATED, seal(publisher.signed(UPDATED, update), evil))
        wait_until(lambda: subscriber.dropped()["signature"] == before + 4, what="all four are counted")
        assert (keys(subscriber)["believed"], keys(subscriber)["rotations"]) == ([old], [])
        assert len(subscriber.ask("history")["jobs"]) == jobs

        honest = seal(exchange(new.public.line), publisher.key)
        publisher.send(ROTATED, honest)
        wait_until(lambda: keys(subscriber)["believed"] == [old, new.public.line], what="the honest one is followed")
        duplicates = subscriber.dropped()["duplicate"]
        for _ in range(5):
            publisher.send(ROTATED, honest)
        publisher.send(ROTATED, seal(exchange(evil.public.line), publisher.key))  # the old key has leaked
        wait_until(lambda: subscriber.dropped()["duplicate"] == duplicates + 5, what="replays are counted")
        wait_until(lambda: keys(subscriber)["conflicts"] == 1, what="the conflict is counted and shown")
        assert keys(subscriber)["believed"] == [old, new.public.line]
        publisher.send(UPDATED, seal(publisher.signed(UPDATED, update), new))
        subscriber.wait_exact(1)


def test_a_jump_is_held_shown_and_released_by_the_operator(world: World) -> None:
    """With the key and without the service: `status` shows it, later updates go on, and `approve --leap` follows it."""
    with FakePublisher(world.publish_endpoint, PUBLISHER, world.publisher_folder / "key") as publisher:
        subscriber = add(world, "t2.example.net", accept=False)
        subscriber.start()

        def first_sync_is_done() -> bool:
            publisher.send_heartbeat({TREE: Head(EPOCH, 0, None)})
            return subscriber.tree()["applied"] == 0 and subscriber.tree()["state"] == "idle"

        wait_until(first_sync_is_done, deadline_seconds=60, what="the first sync")
        publisher.send_heartbeat({TREE: Head(EPOCH, 10**9, "1" * 64)})
        tree = subscriber.wait_for("the jump is held", lambda tree: tree["leap"], deadline_seconds=120)
        assert (tree["leap"]["serial"], tree["announced"], tree["applied"]) == (10**9, 0, 0)
        shown = run_pushmirror("status", "--config", subscriber.config).stdout.decode()
        assert f"approve {TREE} --leap" in " ".join(shown.split())
        publisher.send_update(publisher.update(TREE, 1, ChangeList(changed=(TreePath(b"file"),))))
        subscriber.wait_exact(1)
        assert "is held" in subscriber.program.log_text()
        assert "serial 1000000000" in subscriber.command("approve", TREE, "--leap", "--list")
        subscriber.command("approve", TREE, "--leap", "--yes")
        subscriber.wait_exact(10**9)
        assert subscriber.tree()["leap"] is None
        assert "no jump is held" in subscriber.command("refuse", TREE, "--leap")
