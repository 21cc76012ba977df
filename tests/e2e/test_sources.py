"""Several sources of one tree: real rsync daemons that are down, full, stale, or die in the middle of a job."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.compare import differences
from tests.support.rsyncd import RsyncDaemon
from tests.support.waiting import wait_until
from tests.support.world import TREE, Subscriber, World

pytestmark = pytest.mark.slow

MARKER = "project/trace/t1"
_FULL = "max connections = 1"


@contextlib.contextmanager
def serving(world: World, name: str, folder: Path, extra: str = "") -> Iterator[RsyncDaemon]:
    """Serve `folder` by a second rsync daemon."""
    place = world.folder / name
    place.mkdir()
    with RsyncDaemon(place, {TREE: folder}, extra=extra) as daemon:
        yield daemon


def add_subscriber(world: World, *sources: Any, **settings: Any) -> Subscriber:
    """Return a subscriber that reads from `sources`."""
    subscriber = world.add_subscriber(sources=list(sources), **settings)
    del subscriber.settings["trees"][TREE]["source"]
    return subscriber


def states(subscriber: Subscriber) -> dict[str, tuple[str, str | None]]:
    """Return state and reason of each source, by its URL."""
    return {source["url"]: (source["state"], source["reason"]) for source in subscriber.tree()["sources"]}


def put(world: World, name: str, text: str) -> int:
    """Write a file at Tier 1, touch the marker after it, and announce both."""
    (world.tree / name).write_text(text)
    touch_marker(world, text)
    return world.publish(f"--path={name}", f"--path={MARKER}")


def touch_marker(world: World, text: str) -> None:
    """Write another marker than before, in size."""
    (world.tree / MARKER).parent.mkdir(parents=True, exist_ok=True)
    (world.tree / MARKER).write_text(text * 2)


def payload_sent(daemon: RsyncDaemon) -> list[str]:
    """Return the names of the files whose content a daemon sent."""
    return [name for connection in daemon.connections() for name in connection.sent]


def test_the_next_source_is_used_while_the_preferred_one_refuses_and_the_preferred_one_when_it_is_back(
    tmp_path: Path,
) -> None:
    """A refused connection costs no time: the same job goes on with the next source. Later the first is tried again."""
    with World(tmp_path) as world, serving(world, "second", world.module) as second:
        world.start_publisher()
        subscriber = add_subscriber(world, world.source, second.url(TREE))
        subscriber.start()
        subscriber.wait_exact(put_first(world))
        assert subscriber.tree()["source"] == world.source
        assert payload_sent(second) == []
        world.rsyncd.stop()
        serial = put(world, "b", "while the first is down")
        tree = subscriber.wait_exact(serial)
        assert (tree["source"], tree["last_sync"]["outcome"]) == (second.url(TREE), "done")
        assert "b" in payload_sent(second)
        state, reason = states(subscriber)[world.source]
        assert state == "failing" and "refused" in (reason or "")
        shown = " ".join(subscriber.command("status").split())
        assert "refused (111)" in shown and f"{second.url(TREE)} ready, in use" in shown
        world.rsyncd.start()
        wait_until(lambda: states(subscriber)[world.source][0] == "ready", deadline_seconds=15, what="the rest ends")
        tree = subscriber.wait_exact(put(world, "c", "when it is back"))
        assert tree["source"] == world.source
        assert {source["state"] for source in tree["sources"]} == {"ready"}
        assert differences(world.tree, subscriber.mirror) == []


def put_first(world: World) -> int:
    return put(world, "a", "the first")


def test_a_source_that_takes_no_more_connections_is_passed_over(tmp_path: Path) -> None:
    """Another client holds the only connection: the next source is used, and nobody has failed."""
    with World(tmp_path) as world, serving(world, "full", world.module, _FULL) as full:
        world.start_publisher()
        subscriber = add_subscriber(world, full.url(TREE), world.source)
        subscriber.start()
        subscriber.wait_exact(put_first(world))
        with holding(full):
            tree = subscriber.wait_exact(put(world, "b", "while it is full"))
            assert tree["source"] == world.source
            state, reason = states(subscriber)[full.url(TREE)]
            assert state == "failing" and "max connections (1) reached" in (reason or "")
            assert {job["outcome"] for job in subscriber.ask("history")["jobs"]} == {"done"}


@contextlib.contextmanager
def holding(daemon: RsyncDaemon) -> Iterator[None]:
    """Hold a connection to the module of a daemon, as a client does that has asked for it and is slow since."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as connection:
        stream = connection.makefile("rwb")
        greeting = stream.readline()
        stream.write(b"@RSYNCD: 31.0\n" + f"{TREE}\n".encode())
        stream.flush()
        answer = stream.readline()
        assert greeting.startswith(b"@RSYNCD:") and answer == b"@RSYNCD: OK\n"
        yield


def test_a_mirror_is_used_only_when_its_marker_is_the_origins(tmp_path: Path) -> None:
    """First in order, but stale: it is looked at and not read. When it has caught up it is read, and spares the origin.

    Deletions are checked against the origin all the same: a mirror may leave out what the origin has.
    """
    with World(tmp_path) as world:
        other = tmp_path / "other"
        (world.tree / "a").write_text("the first")
        (world.tree / "gone").write_text("to be deleted")
        touch_marker(world, "the first")
        copy(world.tree, other)
        with serving(world, "mirror", other) as mirror:
            world.start_publisher()
            subscriber = add_subscriber(world, {"url": mirror.url(TREE), "marker": MARKER}, world.source)
            subscriber.start()
            tree = subscriber.wait_exact(0)
            assert tree["source"] == mirror.url(TREE)
            before = payload_sent(mirror)
            assert "a" in before
            tree = subscriber.wait_exact(put(world, "b", "not at the mirror yet"))
            assert tree["source"] == world.source
            assert payload_sent(mirror) == before
            assert states(subscriber)[mirror.url(TREE)] == ("behind", "its marker is not the origin's")
            asked = len(world.rsyncd.wait_for_connections(1))
            (world.tree / "gone").unlink()
            (world.tree / "c").write_text("at the mirror as well")
            touch_marker(world, "and so is its marker")
            copy(world.tree, other)
            serial = world.publish("--path=c", f"--path={MARKER}", "--delete=gone")
            tree = subscriber.wait_exact(serial)
            assert "c" in payload_sent(mirror)
            assert not (subscriber.mirror / "gone").exists()
            assert "c" not in payload_sent(world.rsyncd)
            assert len(world.rsyncd.connections()) > asked
            assert differences(world.tree, subscriber.mirror) == []


def copy(tree: Path, other: Path) -> None:
    """Make `other` as `tree` is."""
    if other.exists():
        shutil.rmtree(other)
    shutil.copytree(tree, other)


def test_a_source_that_dies_in_the_middle_of_a_job_is_replaced_by_the_next(tmp_path: Path) -> None:
    """The job begins anew there, and is one job all the same."""
    with World(tmp_path) as world, serving(world, "second", world.module) as second:
        (world.tree / "large").write_bytes(os.urandom(1_000_000))
        world.start_publisher()
        subscriber = add_subscriber(world, world.source, second.url(TREE), bandwidth="400KB")
        subscriber.start()
        subscriber.wait_for("the first source sends", lambda tree: (tree["progress"] or {}).get("bytes_done"))
        assert subscriber.tree()["source"] == world.source
        world.rsyncd.stop()
        tree = subscriber.wait_exact(0)
        assert tree["source"] == second.url(TREE)
        jobs = subscriber.ask("history")["jobs"]
        assert [job["outcome"] for job in jobs] == ["done"]
        assert differences(world.tree, subscriber.mirror) == []


def test_when_no_source_will_do_the_tree_waits_and_says_why_of_each(tmp_path: Path) -> None:
    """One is down, one has no such module, one is a relay that was never heard; nothing is deleted or applied."""
    with World(tmp_path) as world, serving(world, "second", world.module) as second:
        world.start_publisher()
        wrong = second.url("nothing")
        subscriber = add_subscriber(world, world.source, wrong)
        subscriber.start()
        subscriber.wait_exact(put_first(world))
        world.rsyncd.stop()
        serial = put(world, "b", "unreachable")
        tree = subscriber.wait_for("the job that failed", lambda tree: tree["reason"] and tree["announced"] == serial)
        assert (tree["state"], tree["applied"]) == ("waiting", serial - 1)
        assert "source 1: the connection failed" in tree["reason"]
        assert "source 2:" in tree["reason"] and "Unknown module" in tree["reason"]
        assert "rsync://" not in tree["reason"]
        world.rsyncd.start()
        subscriber.ask("sync")
        assert subscriber.wait_exact(serial)["source"] == world.source


def test_what_is_missing_or_empty_at_one_source_is_read_from_the_next_and_nothing_is_deleted(tmp_path: Path) -> None:
    """A disk that is not mounted at the first source costs nothing: neither a list job nor a full sync believes it."""
    with World(tmp_path) as world, serving(world, "second", world.module) as second:
        world.start_publisher()
        subscriber = add_subscriber(world, world.source, second.url(TREE), missing_wait="1h")
        subscriber.start()
        subscriber.wait_exact(put_first(world))
        empty = tmp_path / "empty"
        empty.mkdir()
        world.rsyncd.set_module_path(TREE, empty)
        tree = subscriber.wait_exact(put(world, "b", "only at the second"))
        assert tree["source"] == second.url(TREE)
        assert "missing upstream" in (states(subscriber)[world.source][1] or "")
        wait_until(lambda: states(subscriber)[world.source][0] == "ready", deadline_seconds=15, what="the rest ends")
        subscriber.ask("sync", full=True)
        tree = subscriber.wait_for("the full sync", lambda tree: tree["last_sync"]["scope"] == "whole")
        tree = subscriber.wait_for("its end", lambda tree: tree["state"] == "idle")
        assert (tree["source"], tree["last_sync"]["outcome"]) == (second.url(TREE), "done")
        assert "empty at the upstream" in (states(subscriber)[world.source][1] or "")
        assert differences(world.tree, subscriber.mirror) == []


def test_another_order_or_one_source_more_costs_no_full_sync(tmp_path: Path) -> None:
    """The serials are the publisher's, whichever source they were applied from."""
    with World(tmp_path) as world, serving(world, "second", world.module) as second:
        world.start_publisher()
        subscriber = world.add_subscriber()
        subscriber.start()
        full_sync = subscriber.wait_exact(put_first(world))["last_full_sync"]
        tree_settings = subscriber.settings["trees"][TREE]
        del tree_settings["source"]
        for sources in ([second.url(TREE), world.source], [second.url(TREE)]):
            subscriber.program.terminate()
            tree_settings["sources"] = sources
            subscriber.start()
            tree = subscriber.wait_exact(put(world, "b", f"from {sources[0]} {len(sources)}"))
            assert (tree["source"], tree["last_full_sync"]) == (sources[0], full_sync)
            assert {job["scope"] for job in subscriber.ask("history")["jobs"][:-1]} <= {"list"}
        assert differences(world.tree, subscriber.mirror) == []


def test_a_signed_stamp_proves_a_mirror_when_the_origin_cannot_be_asked(tmp_path: Path) -> None:
    """Where the publisher knows the format, it has said what the marker has to be: the origin need not answer."""
    with World(tmp_path) as world:
        other = tmp_path / "other"
        world.profile = "deb"
        touch_marker(world, "the first")
        with serving(world, "mirror", other) as mirror:
            world.start_publisher()
            proven = {"url": mirror.url(TREE), "marker": MARKER}
            subscriber = add_subscriber(world, world.source, proven, profile="deb", delete_grace="0s")
            subscriber.start()
            subscriber.wait_exact(0)
            world.rsyncd.stop()
            copy(world.tree, other)
            stale = put(world, "a", "announced and not at the mirror")
            tree = subscriber.wait_for("the failed job", lambda tree: tree["reason"] and tree["announced"] == stale)
            assert "source 2: its marker could not be compared with the origin's" in tree["reason"]
            assert "a" not in payload_sent(mirror)
            copy(world.tree, other)
            serial = put_at_both(world, other)
            subscriber.wait_for("the update", lambda tree: tree["announced"] == serial)
            subscriber.ask("sync")
            tree = subscriber.wait_exact(serial)
            assert tree["source"] == mirror.url(TREE)
            assert differences(world.tree, subscriber.mirror) == []


def put_at_both(world: World, other: Path) -> int:
    (world.tree / "b").write_text("at the mirror as well")
    touch_marker(world, "and so is its marker")
    copy(world.tree, other)
    return world.publish("--path=b", f"--path={MARKER}")
