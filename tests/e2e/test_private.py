"""A private publisher with an encrypted bus: listed nodes follow it, and nobody else hears or reads anything."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pushmirror.bus.connection import BROKEN_GREETING, NOT_LISTED
from pushmirror.curve import generate_pair
from tests.support.waiting import wait_until
from tests.support.world import PUBLISHER, TREE, Subscriber, World

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A private publisher, which is not started yet."""
    with World(tmp_path) as world:
        world.encrypt()
        world.publisher_extra["private"] = True
        (world.tree / "file").write_text("content")
        yield world


def add_listener(world: World, name: str, *, listed: bool = True) -> Subscriber:
    """Return a subscriber that has the publisher's CURVE key, and one of its own."""
    subscriber = world.add_subscriber(name)
    subscriber.make_curve()
    upstream(subscriber)["curve"] = "" if world.curve is None else world.curve.line
    if not listed:
        world.subscribers.remove(subscriber)
        world.authorize_nodes()
        world.subscribers.append(subscriber)
    return subscriber


def upstream(subscriber: Subscriber) -> dict[str, Any]:
    found: dict[str, Any] = subscriber.settings["upstreams"][PUBLISHER]
    return found


def faults(subscriber: Subscriber) -> dict[str, Any]:
    found: dict[str, Any] = subscriber.status()["upstreams"][PUBLISHER]["faults"]
    return found


def test_listed_nodes_follow_and_others_get_nothing_and_know_why(world: World) -> None:
    """A listed node hears, catches up and reports as ever. One that is not listed hears nothing and is answered
    nothing, its status says why, and the publisher's log who; once it is listed it follows, without any restart."""
    listed = add_listener(world, "t2.example.net")
    stranger = add_listener(world, "stranger.example.net", listed=False)
    world.start_publisher()
    listed.start()
    stranger.start()
    listed.wait_exact(0)
    (world.tree / "new").write_text("more")
    assert world.publish("--path", "new") == 1
    listed.wait_exact(1)
    listed.assert_exact()
    assert faults(listed) == {"bus": None, "service": None}
    wait_until(lambda: faults(stranger)["bus"] == NOT_LISTED, what="the stranger to be told about the bus")
    wait_until(lambda: "does not know this node" in str(faults(stranger)["service"]), what="and the service")
    told = stranger.status()["upstreams"][PUBLISHER]
    assert (told["state"], told["last_heard_ms"]) != ("connected", None)
    assert stranger.tree()["announced"] in (None, -1, 0) and told["last_heard_ms"] is None
    log = world.publisher.log_text()
    assert stranger.curve is not None and stranger.curve.text in log and "stranger.example.net" in log
    world.authorize_nodes()
    stranger.wait_exact(1)
    listed.wait_exact(1)


def test_who_asks_without_a_signature_is_told_nothing(world: World) -> None:
    """A publisher that is not private answers anybody; of a private one state, lists, history and what is not there
    look alike to a stranger: 401, and nothing may be kept of it."""
    state = f"/v1/trees/{TREE}?nonce=12345678"
    world.publisher_extra["private"] = False
    world.start_publisher()
    assert ask_as_stranger(world, state)[0] == 200
    assert world.publisher.terminate() == 0
    world.publisher_extra["private"] = True
    world.start_publisher()
    others = (f"/v1/trees/{TREE}/lists/{'0' * 64}", f"/v1/trees/{TREE}/updates?epoch=1-a&after=0", "/v1/reports", "/x")
    for path in (state, *others):
        assert ask_as_stranger(world, path) == (401, "no-store")


def ask_as_stranger(world: World, path: str) -> tuple[int, str]:
    """Return status and `Cache-Control` of an answer."""
    try:
        with urllib.request.urlopen(f"{world.service_url}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Cache-Control"]
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers["Cache-Control"]


@pytest.mark.parametrize("key", [None, "another"])
def test_who_has_no_or_a_wrong_key_of_the_publisher_hears_nothing_and_harms_nobody(
    world: World, key: str | None
) -> None:
    """A subscriber without CURVE, and one with another server's key, are told by their status; the publisher's log
    tells of them, and a node that is right goes on hearing."""
    wrong = add_listener(world, "wrong.example.net")
    right = add_listener(world, "right.example.net")
    if key is None:
        del upstream(wrong)["curve"]
    else:
        upstream(wrong)["curve"] = generate_pair().public.text
    world.start_publisher()
    wrong.start()
    right.start()
    wait_until(lambda: faults(wrong)["bus"] == BROKEN_GREETING, what="the reason in the status")
    right.wait_exact(0)
    assert world.publish("--path", "file") == 1
    right.wait_exact(1)
    assert wrong.status()["upstreams"][PUBLISHER]["last_heard_ms"] is None
    world.publisher.wait_for_line("a client of the bus was refused: it speaks otherwise")


def test_a_private_relay_serves_its_own_nodes_alone(world: World) -> None:
    """A relay with a key and a list of its own is followed by a node that is listed there."""
    relay, leaf = add_listener(world, "relay.example.net"), world.add_subscriber("leaf.example.net")
    relay.make_relay(private=True, curve=str(relay.folder / "curve"))
    leaf.make_curve()
    leaf.follow(relay)
    assert relay.curve is not None
    upstream(leaf)["relays"][relay.name]["curve"] = relay.curve.line
    world.start_publisher()
    relay.start()
    relay.wait_exact(0)
    leaf.start()
    leaf.wait_exact(0)
    assert world.publish("--path", "file") == 1
    leaf.wait_exact(1)
    leaf.assert_exact()
