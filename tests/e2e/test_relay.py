"""Relays with real processes: chains, a choice of two, and what a mirror below must not take for exact."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pushmirror.control.client import ask as control
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.support.walks import WalkRecord
from tests.support.world import PUBLISHER, TREE, Subscriber, World

pytestmark = pytest.mark.slow

BALLAST_BYTES = 300_000
NOTHING_UNASKED = {"count": 0, "percent": 0, "limit": 0}
EVERYTHING = {"count": 1000, "percent": 100, "limit": 100}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A publisher that runs, with a few files."""
    with World(tmp_path) as world:
        write(world, "pool/a", "pool/b", "index")
        (world.tree / "bulk").mkdir()  # whoever looks at the names in the root has not walked the tree
        (world.tree / "bulk" / "ballast").write_bytes(bytes(BALLAST_BYTES))
        world.start_publisher()
        yield world


def write(world: World, *names: str) -> list[str]:
    """Write files into the tree, with new content, and return the arguments that announce them."""
    for name in names:
        path = world.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} {time.monotonic_ns()}")
    return [argument for name in names for argument in ("--path", name)]


class Relay:
    """A relay that runs; `record` knows who walked its tree. `relay` are settings of its own group."""

    def __init__(
        self, world: World, name: str, *, relay: Mapping[str, object] = MappingProxyType({}), **tree_settings: object
    ) -> None:
        self.subscriber = world.add_subscriber(name, **tree_settings)
        self.record = WalkRecord(self.subscriber.folder / "record", BALLAST_BYTES)
        self.subscriber.make_relay(self.record.settings(), **relay)
        self.subscriber.start()

    def walks(self) -> int:
        """Return how often its whole tree was walked by others."""
        return len(self.record.walks(self.subscriber.rsyncd))

    def release(self) -> None:
        """Have it do the deletions that it holds."""
        shown = self.subscriber.ask("approve")
        assert self.subscriber.ask("approve", release=True, digest=shown["digest"])["released"]


def below(world: World, *relays: Relay, name: str = "leaf.example.net", origin: bool = False) -> Subscriber:
    """Return a mirror below `relays` that runs; they have something to hand on by then."""
    for relay in relays:
        relay.subscriber.wait_for("relayed", lambda tree: tree["relay"]["reason"] is None)
    leaf = world.add_subscriber(name, delete_budget=EVERYTHING)
    leaf.follow(*(relay.subscriber for relay in relays), origin=origin)
    leaf.start()
    return leaf


def ask(relay: Subscriber, path: str) -> tuple[int, bytes]:
    """Return status and body of what the service of a relay answers."""
    try:
        with urllib.request.urlopen(f"{relay.settings['relay']['service']}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def state_of(relay: Subscriber) -> dict[str, Any]:
    """Return what a relay says of its tree."""
    status, body = ask(relay, f"/v1/trees/{TREE}?nonce=0123456789")
    assert status == 200, body
    msg: dict[str, Any] = json.loads(body)["msg"]
    return msg


def reported(world: World, node: str) -> int | None:
    """Return what a node has applied, as the publisher knows it from its reports."""
    status = control(world.publisher_folder / "control.sock", {"command": "status"})
    found = status["nodes"].get(node, {}).get(TREE)
    return None if found is None else int(found["applied"])


def test_a_chain_of_three_tiers_becomes_exact_and_the_origin_is_asked_by_the_first_alone(world: World) -> None:
    """The mirrors below know nothing of the origin but its keys; their reports arrive there all the same."""
    relay = Relay(world, "relay.example.net")
    relay.subscriber.wait_exact(0)
    middle = world.add_subscriber("middle.example.net")
    middle.make_relay()
    middle.follow(relay.subscriber)
    middle.start()
    middle.wait_exact(0)
    leaf = world.add_subscriber("leaf.example.net")
    leaf.follow(middle)
    leaf.start()
    leaf.wait_exact(0)
    for _ in range(3):
        serial = world.publish(*write(world, "pool/a", "pool/new/c"))
        for subscriber in (relay.subscriber, middle, leaf):
            subscriber.wait_exact(serial)
    leaf.assert_exact()
    assert relay.walks() == 2  # the first sync of the middle: its content, and the search for surplus
    assert state_of(middle)["serial"] == serial
    wait_until(lambda: reported(world, "leaf.example.net") == serial, what="the leaf's report reaches the publisher")


def test_a_relay_speaks_https_with_a_certificate_of_its_own(world: World, tmp_path: Path) -> None:
    """A mirror below that knows the authority learns over it where the tree is, and what it missed."""
    authority = Authority(tmp_path / "ca.crt")
    certificate, key = authority.issue(tmp_path / "tls", "127.0.0.1")
    service = f"https://127.0.0.1:{free_port()}"
    secure = {"service": service, "service_certificate": str(certificate), "service_key": str(key)}
    relay = Relay(world, "relay.example.net", relay=secure)
    relay.subscriber.wait_for("relayed", lambda tree: tree["relay"]["reason"] is None)
    leaf = world.add_subscriber("leaf.example.net")
    leaf.follow(relay.subscriber)
    leaf.settings["upstreams"][PUBLISHER]["service_ca"] = str(authority.path)
    leaf.start()
    leaf.wait_exact(0)
    leaf.program.terminate()
    for _ in range(2):
        serial = world.publish(*write(world, "pool/a"))
    relay.subscriber.wait_exact(serial)
    leaf.start()
    leaf.wait_exact(serial)
    leaf.assert_exact()
    assert [job["scope"] for job in leaf.ask("history")["jobs"]] == ["list", "whole"]
    with pytest.raises(urllib.error.URLError, match="certificate"):
        urllib.request.urlopen(f"{service}/v1/trees/{TREE}?nonce=0123456789", timeout=10)


def test_of_two_relays_one_may_die_and_the_mirror_goes_on_with_the_other_without_a_full_sync(world: World) -> None:
    """Serials are the origin's at both: the second goes on where the first left off, and so does the origin itself."""
    first, second = Relay(world, "r1.example.net"), Relay(world, "r2.example.net")
    leaf = below(world, first, second)
    serial = world.publish(*write(world, "pool/a"))
    leaf.wait_exact(serial)
    # The first sync reads from whichever relay has told first what it has: the content, and the search for surplus.
    walks = (first.walks(), second.walks())
    assert sorted(walks) == [0, 2]
    first.subscriber.program.kill()
    first.subscriber.rsyncd.stop()
    serial = world.publish(*write(world, "pool/b", "pool/new"))
    leaf.wait_exact(serial)
    assert (first.walks(), second.walks()) == walks
    assert leaf.status()["upstreams"][PUBLISHER]["state"] == "connected"
    leaf.program.terminate()
    second.subscriber.program.kill()
    leaf.follow(first.subscriber, second.subscriber, origin=True)
    serial = world.publish(*write(world, "index"))
    leaf.start()
    leaf.wait_exact(serial)
    leaf.assert_exact()
    assert [job["scope"] for job in leaf.ask("history")["jobs"]].count("whole") == 1
    assert (first.walks(), second.walks()) == walks


def test_a_deletion_that_a_relay_holds_is_pending_below_it_too_also_after_full_syncs(world: World) -> None:
    """What the relay has yet to delete is copied from it and never counts as clean; its own release is felt at once."""
    relay = Relay(world, "relay.example.net", delete_budget=NOTHING_UNASKED)
    leaf = below(world, relay)
    leaf.wait_exact(0)
    (world.tree / "pool/a").unlink()
    serial = world.publish("--delete", "pool/a", *write(world, "pool/b"))
    relay.subscriber.wait_for("held", lambda tree: tree["held"])
    late = below(world, relay, name="late.example.net")
    late.wait_for("applied", lambda tree: tree["applied"] == serial and tree["state"] == "idle")
    leaf.wait_for("applied", lambda tree: tree["applied"] == serial and tree["state"] == "idle")
    leaf.ask("sync", full=True)
    leaf.wait_for("a full sync", lambda tree: tree["last_sync"]["scope"] == "whole" and tree["state"] == "idle")
    for mirror in (leaf, late):
        assert (mirror.mirror / "pool/a").exists()
        assert mirror.tree()["cleaned"] == 0
    relay.release()
    for mirror in (relay.subscriber, leaf, late):
        mirror.wait_exact(serial)
        mirror.assert_exact()


def test_a_deletion_in_the_middle_of_the_relays_own_is_done_once_more_when_that_is_clean(world: World) -> None:
    """A path that is gone at a relay whose directory has not its time again leaves that directory wrong below."""
    relay = Relay(world, "relay.example.net", delete_budget=NOTHING_UNASKED)
    leaf = below(world, relay)
    leaf.wait_exact(0)
    leaf.ask("pause")
    (world.tree / "pool/a").unlink()
    serial = world.publish("--delete", "pool/a")
    relay.subscriber.wait_for("held", lambda tree: tree["held"])
    (relay.subscriber.mirror / "pool/a").unlink()
    leaf.ask("resume")
    leaf.wait_for("gone", lambda tree: tree["applied"] == serial and not (leaf.mirror / "pool/a").exists())
    assert leaf.wait_for("idle", lambda tree: tree["state"] == "idle")["cleaned"] == 0
    relay.release()
    for subscriber in (relay.subscriber, leaf):
        subscriber.wait_exact(serial)
        subscriber.assert_exact()


def test_a_directory_that_was_compared_with_a_relay_is_compared_again_once_that_is_clean(world: World) -> None:
    """No list names what is surplus in a whole directory: only a source that has deleted it can tell."""
    relay = Relay(world, "relay.example.net", delete_budget=NOTHING_UNASKED)
    leaf = below(world, relay)
    leaf.wait_exact(0)
    (world.tree / "pool/a").unlink()
    serial = world.publish("--directory", "pool")
    relay.subscriber.wait_for("held", lambda tree: tree["held"])
    tree = leaf.wait_for("applied", lambda tree: tree["applied"] == serial and tree["state"] == "idle")
    assert tree["cleaned"] == 0
    relay.release()
    leaf.wait_exact(serial)
    leaf.assert_exact()
    assert relay.walks() == 2


def test_a_mirror_hears_of_nothing_that_its_relay_has_not_applied(world: World) -> None:
    """While the relay is paused it tells of the serial before, on its bus and in its states."""
    relay = Relay(world, "relay.example.net")
    leaf = below(world, relay)
    leaf.wait_exact(0)
    relay.subscriber.ask("pause")
    serial = world.publish(*write(world, "pool/a"))
    relay.subscriber.wait_for("announced", lambda tree: tree["announced"] == serial)
    leaf.ask("sync")
    heard, told = leaf.status()["upstreams"][PUBLISHER]["relays"]["relay.example.net"], state_of(relay.subscriber)
    assert (heard["trees"][TREE]["applied"], leaf.tree()["announced"], told["serial"]) == (0, 0, 0)
    epoch = told["epoch"]
    assert ask(relay.subscriber, f"/v1/trees/{TREE}/updates?epoch={epoch}&after=0") == (200, b"")
    relay.subscriber.ask("resume")
    leaf.wait_exact(serial)
    assert ask(relay.subscriber, f"/v1/trees/{TREE}/updates?epoch={epoch}&after=0")[1].count(b"\n") == 1


def test_a_tree_with_filters_or_with_unreadable_paths_is_not_handed_on_and_says_why(tmp_path: Path) -> None:
    """The reason stands in the status and once in the log; the service has nothing of such a tree."""
    with World(tmp_path, unprivileged=True) as world:
        write(world, "pool/a", "secret/b")
        (world.tree / "secret").chmod(0o700)
        world.start_publisher()
        filtered = Relay(world, "filtered.example.net", exclude=["/secret"]).subscriber
        incomplete = Relay(world, "hole.example.net").subscriber
        incomplete.wait_for("incomplete", lambda tree: tree["incomplete"])
        for relay, reason in ((filtered, "include and exclude hide"), (incomplete, "cannot be read at its upstream")):
            relay.wait_for("the reason", lambda tree, reason=reason: reason in (tree["relay"]["reason"] or ""))
            relay.program.wait_for_line(reason)
            assert relay.program.log_text().count(reason) == 1
            status, body = ask(relay, f"/v1/trees/{TREE}?nonce=0123456789")
            assert (status, reason.encode() in body) == (503, True)


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.full)])
def test_a_relay_that_is_killed_again_and_again_neither_loses_an_update_nor_tells_one_too_early(
    world: World, rounds: int
) -> None:
    """Updates are kept in the transaction that announces them: at every start it hands on just what it has applied."""
    relay = Relay(world, "relay.example.net")
    leaf = below(world, relay)
    leaf.wait_exact(0)
    chance = random.Random(20)
    for number in range(rounds):
        serial = world.publish(*write(world, f"pool/{number}", "index"))
        moment = time.monotonic() + chance.random()
        wait_until(lambda moment=moment: time.monotonic() > moment, what="a moment")
        relay.subscriber.program.kill_alone()
        relay.subscriber.start()
        assert leaf.tree()["announced"] <= relay.subscriber.tree()["applied"]
    leaf.wait_exact(serial)
    leaf.assert_exact()
    assert relay.walks() == 2
