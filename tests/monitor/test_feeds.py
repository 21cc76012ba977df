"""What to listen to and whom to believe, from settings files and from bare endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pushmirror.core.curve import CurveKey
from pushmirror.curve import generate_curve_file, load_curve_pair
from pushmirror.errors import SettingsError, UsageError
from pushmirror.keys import generate_key_file
from pushmirror.monitor import feeds

PINNED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICjWY+6284dYh3lTD6qXoTu7qIrM8sDgpnZgmRyeFViY"


def write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))  # without aliases, which no settings have
    return path


@pytest.fixture
def publisher(tmp_path: Path) -> dict[str, Any]:
    generate_key_file(tmp_path / "p.key", "mirror.example.org")
    node = generate_key_file(tmp_path / "n.key", "t2.example.net")
    (tmp_path / "nodes").write_text(f"{node.line} t2.example.net\n")
    return {
        "name": "mirror.example.org",
        "state_dir": str(tmp_path),
        "key": str(tmp_path / "p.key"),
        "bus": {"publish": "tcp://*:9940", "topic_prefix": "org.example", "environment": "prod"},
        "service": "http://127.0.0.1:9941",
        "authorized_nodes": str(tmp_path / "nodes"),
        "control": str(tmp_path / "p.sock"),
        "trees": {"debian": {"path": str(tmp_path / "debian")}},
    }


@pytest.fixture
def subscriber(tmp_path: Path) -> dict[str, Any]:
    generate_key_file(tmp_path / "s.key", "t2.example.net")
    upstream = {
        "publish": "tcp://127.0.0.1:9940",
        "service": "http://127.0.0.1:9941",
        "topic_prefix": "org.example",
        "environment": "prod",
        "keys": [f"{PINNED} mirror.example.org"],
    }
    tree = {"upstream": "a.example.org", "source": "rsync://127.0.0.1/debian/", "path": str(tmp_path / "debian")}
    return {
        "name": "t2.example.net",
        "state_dir": str(tmp_path),
        "key": str(tmp_path / "s.key"),
        "control": str(tmp_path / "s.sock"),
        "upstreams": {"a.example.org": upstream, "b.example.org": upstream | {"publish": "tcp://[::1]:9940"}},
        "trees": {"debian": tree},
    }


@pytest.mark.parametrize(
    ("listening", "reached"),
    [
        ("tcp://*:9940", "tcp://127.0.0.1:9940"),
        ("tcp://0.0.0.0:9940", "tcp://127.0.0.1:9940"),
        ("tcp://[::]:9940", "tcp://[::1]:9940"),
        ("tcp://192.0.2.1:9940", "tcp://192.0.2.1:9940"),
    ],
)
def test_a_publisher_listens_to_itself(tmp_path: Path, publisher: dict[str, Any], listening: str, reached: str) -> None:
    """Its own endpoint is reached over loopback, and its own key and those of its nodes are believed."""
    publisher["bus"]["publish"] = listening
    found = feeds.from_settings(write(tmp_path / "p.yaml", publisher))
    (feed,) = found.feeds
    assert (feed.endpoint, feed.topic_start) == (reached, "org.example.prod.pushmirror.")
    assert feed.voice is not None
    assert (len(feed.voice.keys), set(feed.voice.nodes)) == (1, {"t2.example.net"})
    assert found.notes == ()


def test_what_a_publisher_cannot_verify_is_told(tmp_path: Path, publisher: dict[str, Any]) -> None:
    """Without the public key and the list of nodes, messages are followed all the same, with a note for each."""
    (tmp_path / "p.key.pub").unlink()
    (tmp_path / "nodes").unlink()
    found = feeds.from_settings(write(tmp_path / "p.yaml", publisher))
    assert found.feeds[0].voice is not None
    assert (found.feeds[0].voice.keys, found.feeds[0].voice.nodes) == ((), {})
    assert [note.split(":")[-1] for note in found.notes if "announcements" in note] == [
        " announcements and heartbeats are not verified"
    ]
    assert any(note.startswith("reports are not verified") for note in found.notes)


def test_a_subscriber_listens_to_all_its_upstreams(tmp_path: Path, subscriber: dict[str, Any]) -> None:
    """Each upstream has its endpoint and its pinned keys; of the nodes, this one alone is known."""
    found = feeds.from_settings(write(tmp_path / "s.yaml", subscriber))
    assert [feed.endpoint for feed in found.feeds] == ["tcp://127.0.0.1:9940", "tcp://[::1]:9940"]
    voices = [feed.voice for feed in found.feeds if feed.voice is not None]
    assert [voice.publisher for voice in voices] == ["a.example.org", "b.example.org"]
    assert all(voice.keys[0].line == PINNED and set(voice.nodes) == {"t2.example.net"} for voice in voices)
    assert len(found.notes) == 1


def test_a_subscriber_listens_to_relays_beside_the_publisher_or_in_its_place(
    tmp_path: Path, subscriber: dict[str, Any]
) -> None:
    """They speak under the publisher's topics, each with keys of its own for what it says of itself."""
    relay = {"publish": "tcp://127.0.0.1:9950", "service": "http://127.0.0.1:9951", "keys": [PINNED]}
    for upstream in subscriber["upstreams"].values():
        upstream["relays"] = {"r.example.net": relay}
    del subscriber["upstreams"]["b.example.org"]["publish"]
    found = feeds.from_settings(write(tmp_path / "s.yaml", subscriber))
    endpoints = ["tcp://127.0.0.1:9940", "tcp://127.0.0.1:9950", "tcp://127.0.0.1:9950"]
    assert [feed.endpoint for feed in found.feeds] == endpoints
    assert all(feed.voice is not None and set(feed.voice.relays) == {"r.example.net"} for feed in found.feeds)


@pytest.mark.parametrize("key", ["keys", "topic_prefix", "publish"])
def test_faulty_settings_are_told_with_their_lines(tmp_path: Path, subscriber: dict[str, Any], key: str) -> None:
    """Whatever is wrong is told as `check-config` does."""
    subscriber["upstreams"]["b.example.org"][key] = "no such thing"
    with pytest.raises(SettingsError) as raised:
        feeds.from_settings(write(tmp_path / "s.yaml", subscriber))
    assert all(fault.line > 0 and key in fault.key for fault in raised.value.faults)


def test_bare_endpoints_are_believed_in_nothing() -> None:
    """An endpoint without settings has no voice, and that is told."""
    found = feeds.from_endpoints(["tcp://127.0.0.1:9940", "tcp://mirror.example.org:9940"])
    assert [(feed.topic_start, feed.voice) for feed in found.feeds] == [("", None), ("", None)]
    assert "nothing that follows is verified" in found.notes[0]


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:9940", "tcp://*:9940", "ipc:///tmp/x", "tcp://host"])
def test_a_bad_endpoint_is_a_usage_error(endpoint: str) -> None:
    """What no socket can be connected to is refused with a text that says what to write."""
    with pytest.raises(UsageError):
        feeds.from_endpoints([endpoint])


def test_an_encrypted_bus_of_ones_own_is_followed_with_its_own_key(publisher: dict[str, Any], tmp_path: Path) -> None:
    """A private bus always lets its own key in; where the secret half may not be read the public one is used, and a
    note says what that means."""
    public = generate_curve_file(tmp_path / "bus", "mirror.example.org")
    publisher["bus"]["curve"] = str(tmp_path / "bus")
    path = write(tmp_path / "publisher.yaml", publisher)
    found = feeds.from_settings(path)
    curve = found.feeds[0].curve
    assert curve is not None and curve.server == curve.public == public.text.encode()
    (tmp_path / "bus").chmod(0o644)
    found = feeds.from_settings(path)
    curve = found.feeds[0].curve
    assert curve is not None and curve.server == public.text.encode() != curve.public
    assert "a private bus will not let anything be heard" in found.notes[-1]


def test_the_keys_of_encrypted_upstreams_are_those_of_the_settings(subscriber: dict[str, Any], tmp_path: Path) -> None:
    """Each upstream has its own key, the node has one for all; with bare endpoints the key is given by hand."""
    server = CurveKey(bytes(32), "mirror.example.org")
    generate_curve_file(tmp_path / "own", "t2.example.net")
    subscriber["curve"] = str(tmp_path / "own")
    for upstream in subscriber["upstreams"].values():
        upstream["curve"] = server.line
    found = feeds.from_settings(write(tmp_path / "subscriber.yaml", subscriber))
    own = load_curve_pair(tmp_path / "own")
    for feed in found.feeds:
        assert feed.curve is not None
        assert (feed.curve.server, feed.curve.public) == (server.text.encode(), own.public.text.encode())
    by_hand = feeds.from_endpoints(["tcp://127.0.0.1:9940"], server.text).feeds[0].curve
    assert by_hand is not None and by_hand.server == server.text.encode()
    with pytest.raises(UsageError, match="CURVE key"):
        feeds.from_endpoints(["tcp://127.0.0.1:9940"], "nonsense")


def test_keys_of_before_and_keys_of_trees_are_believed_too(
    publisher: dict[str, Any], subscriber: dict[str, Any], tmp_path: Path
) -> None:
    """A publisher that exchanged its key signs with both for a time; some trees have keys of their own."""
    old = generate_key_file(tmp_path / "p.key.old-0123456789abcdef", "mirror.example.org")
    (found,) = feeds.from_settings(write(tmp_path / "p.yaml", publisher)).feeds
    assert found.voice is not None and len(found.voice.keys) == 2 and found.voice.keys[1] == old
    tree = next(iter(subscriber["trees"].values()))
    tree["keys"] = [old.line]
    voices = [feed.voice for feed in feeds.from_settings(write(tmp_path / "s.yaml", subscriber)).feeds]
    believing = {
        voice.publisher
        for voice in voices
        if voice is not None and any(old in keys for keys in voice.tree_keys.values())
    }
    assert believing == {tree["upstream"]}
