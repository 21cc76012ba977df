"""Whatever a stranger, or a publisher gone bad, sends: it starts no job, raises nothing, and is counted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.messages import UPDATED, UPDATING, format_updating
from pushmirror.core.model import ChangeList, Head, Updating
from pushmirror.core.paths import TreePath
from pushmirror.core.wire import attach
from pushmirror.keys import generate_key_file, load_private_key, seal
from tests.support.bus import EPOCH, FakePublisher, now_ms
from tests.support.waiting import wait_until
from tests.support.world import PUBLISHER, TREE, Subscriber, World

pytestmark = pytest.mark.slow
HONEST = ChangeList(changed=(TreePath(b"file"),))


@pytest.fixture
def field(tmp_path: Path) -> Iterator[tuple[FakePublisher, Subscriber, World]]:
    """A subscriber that has done its first sync and listens to a publisher in the hands of the test."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        with FakePublisher(world.publish_endpoint, PUBLISHER, world.publisher_folder / "key") as publisher:
            subscriber = world.add_subscriber()
            subscriber.start()
            head = Head(EPOCH, 0, None)

            def first_sync_is_done() -> bool:
                publisher.send_heartbeat({TREE: head})
                return subscriber.tree()["applied"] == 0 and subscriber.tree()["state"] == "idle"

            wait_until(first_sync_is_done, deadline_seconds=60, what="the first sync")
            yield publisher, subscriber, world


def hostile_frames(publisher: FakePublisher, folder: Path) -> list[tuple[str, list[bytes]]]:
    """Return bad messages, each with the cause under which it has to be counted."""
    good = publisher.update(TREE, 1, HONEST)
    topic_frame = publisher.topic(UPDATED).encode()
    generate_key_file(folder / "other", "other")
    other = load_private_key(folder / "other")
    signed = publisher.signed(UPDATED, good)
    honest = seal(signed, publisher.key)

    def with_paths(key: str, *paths: str) -> bytes:
        return publisher.sealed(UPDATED, publisher.update_of_raw_list(TREE, 1, {key: list(paths)}))

    odd = base64.b64encode(b"../\xff").decode()
    pairs = [
        ("signature", signed),
        ("signature", seal(signed, other)),
        ("signature", attach(signed, other.sign(signed), publisher.key.public.line)),
        ("signature", honest.replace(b'"serial":1', b'"serial":2')),
        ("format", honest[: len(honest) // 2]),
        ("format", b""),
        ("format", b"\xff\xfe not JSON"),
        ("format", b"[" * 50_000),
        ("format", b'{"topic": 1e400}'),
        ("format", publisher.sealed(UPDATED, {**good, "format": 2})),
        ("format", publisher.sealed(UPDATED, {**good, "serial": True})),
        ("format", publisher.sealed(UPDATED, {**good, "list_digest": "0" * 64})),
        ("publisher", publisher.sealed(UPDATED, {**good, "publisher": "another.example.org"})),
        ("tree", publisher.sealed(UPDATED, {**good, "tree": "unknown"})),
        ("tree", publisher.sealed(UPDATED, {**good, "tree": "../demo"})),
        ("topic", publisher.sealed("tree.heartbeat", good)),
        ("path", with_paths("changed", "../outside")),
        ("path", with_paths("changed", "/etc/passwd")),
        ("path", with_paths("changed", "--rsh=sh")),
        ("path", with_paths("changed", "-rf")),
        ("path", with_paths("changed", "a/../../b")),
        ("path", with_paths("changed", "a//b")),
        ("path", with_paths("changed", "a" * 300)),
        ("path", with_paths("changed", "/".join(["a" * 200] * 20))),
        ("path", with_paths("deleted", "..")),
        ("path", with_paths("deleted", ".")),
        ("path", with_paths("deleted", "")),
        ("path", with_paths("directories", ".~pushmirror~")),
        ("path", with_paths("directories", "a/.~tmp~")),
        ("path", with_paths("changed", "nul\0byte")),
        ("path", with_paths("changed_bytes", odd)),
    ]
    return [(cause, [topic_frame, body]) for cause, body in pairs]


def test_bad_messages_start_no_job_and_are_counted(
    field: tuple[FakePublisher, Subscriber, World], tmp_path: Path
) -> None:
    """Each kind is counted under its cause; an honest announcement after all of them still works."""
    publisher, subscriber, world = field
    before = subscriber.dropped()
    connections = len(world.rsyncd.connections())
    frames = hostile_frames(publisher, tmp_path)
    expected = dict(before)
    for cause, parts in frames:
        publisher.socket.send_multipart(parts)
        expected[cause] += 1
    wait_until(lambda: subscriber.dropped() == expected, what=f"{expected} instead of {subscriber.dropped()}")
    tree = subscriber.tree()
    assert (tree["announced"], tree["applied"], tree["state"]) == (0, 0, "idle")
    assert len(world.rsyncd.connections()) == connections
    assert "Traceback" not in subscriber.program.log_text()
    (world.tree / "file").write_text("changed")
    publisher.send_update(publisher.update(TREE, 1, HONEST))
    subscriber.wait_exact(1)
    assert (subscriber.mirror / "file").read_text() == "changed"


def test_frames_that_are_no_messages_are_survived(field: tuple[FakePublisher, Subscriber, World]) -> None:
    """One frame, three frames, an empty topic, a topic of another bus."""
    publisher, subscriber, _ = field
    topic_frame = publisher.topic(UPDATED).encode()
    for parts in ([topic_frame], [topic_frame, b"{}", b"{}"], [topic_frame + b".more", b"{}"], [topic_frame, b""]):
        publisher.socket.send_multipart(parts)
    publisher.send_update(publisher.update(TREE, 1, HONEST))
    subscriber.wait_exact(1)
    assert "Traceback" not in subscriber.program.log_text()


def test_a_replayed_announcement_is_counted_and_starts_nothing(
    field: tuple[FakePublisher, Subscriber, World],
) -> None:
    """The same signed bytes a second time are a duplicate."""
    publisher, subscriber, world = field
    body = publisher.sealed(UPDATED, publisher.update(TREE, 1, HONEST))
    publisher.send(UPDATED, body)
    subscriber.wait_exact(1)
    connections = len(world.rsyncd.connections())
    for _ in range(20):
        publisher.send(UPDATED, body)
    wait_until(lambda: subscriber.dropped()["duplicate"] >= 20, what="the duplicates are counted")
    assert len(world.rsyncd.connections()) == connections


def test_a_tree_that_its_publisher_is_updating_starts_nothing_until_it_is_told_the_end(
    field: tuple[FakePublisher, Subscriber, World],
) -> None:
    """`tree.updating` holds the jobs back, an announcement ends that, and a replay of it does nothing."""
    publisher, subscriber, world = field
    started_ms = now_ms()
    updating = publisher.sealed(UPDATING, format_updating(Updating(PUBLISHER, TREE, started_ms, started_ms + 600_000)))
    publisher.send(UPDATING, updating)
    subscriber.wait_for("the note", lambda tree: tree["upstream_busy_until"])
    connections = len(world.rsyncd.connections())
    subscriber.ask("sync", full=True)
    tree = subscriber.tree()
    assert tree["state"] == "waiting" and len(world.rsyncd.connections()) == connections
    publisher.send_update(publisher.update(TREE, 1, HONEST))
    subscriber.wait_exact(1)
    publisher.send(UPDATING, updating)
    wait_until(lambda: subscriber.dropped()["stale"] >= 1, what="the replay is counted")
    assert subscriber.tree()["upstream_busy_until"] is None
