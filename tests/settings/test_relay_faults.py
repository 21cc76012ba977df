"""Every fault in what a subscriber's file says about relays, with its exact line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.errors import SettingsError
from pushmirror.settings.load import load_subscriber

from .examples import PUBLIC_LINE, write_subscriber

RELAYS = f"""\
    relays:
      r1.example.net:
        publish: tcp://127.0.0.1:9950
        service: http://127.0.0.1:9951
        keys: ["{PUBLIC_LINE}"]
"""
OWN = "relay:\n  publish: tcp://*:9940\n  service: http://*:9941\n"
FOLLOWED = ("trees:\n", f"{RELAYS}trees:\n")
IS_RELAY = ("upstreams:\n", f"{OWN}upstreams:\n")
PUBLISH = ("    publish: tcp://127.0.0.1:9940\n", "")
SERVICE = ("    service: http://127.0.0.1:9941\n", "")

Replacement = tuple[str, str]

FAULTS: list[tuple[str, list[Replacement], list[tuple[int, str, str]]]] = [
    ("neither publish nor relays", [PUBLISH], [(6, "upstreams.main.publish", "only an upstream with relays")]),
    ("neither service nor relays", [SERVICE], [(6, "upstreams.main.service", "only an upstream with relays")]),
    (
        "no value",
        [("    publish: tcp://127.0.0.1:9940\n", "    publish:\n")],
        [(7, "upstreams.main.publish", "has no value")],
    ),
    (
        "a relay without keys",
        [FOLLOWED, (f'        keys: ["{PUBLIC_LINE}"]\n', "")],
        [(14, "upstreams.main.relays.r1.example.net.keys", "is missing")],
    ),
    (
        "a relay with a bad key",
        [FOLLOWED, (f'["{PUBLIC_LINE}"]', '["no key"]')],
        [(17, "upstreams.main.relays.r1.example.net.keys[0]", "begins with ssh-ed25519")],
    ),
    (
        "the same endpoint twice",
        [FOLLOWED, ("tcp://127.0.0.1:9950", "tcp://127.0.0.1:9940")],
        [(15, "upstreams.main.relays.r1.example.net.publish", "the same as that of upstreams.main")],
    ),
    (
        "itself",
        [FOLLOWED, ("r1.example.net", "t2.example.net")],
        [(14, "upstreams.main.relays.t2.example.net", "is this node itself")],
    ),
    ("a relay without a service", [IS_RELAY, ("  service: http://*:9941\n", "")], [(5, "relay.service", "is missing")]),
    (
        "https without a certificate",
        [IS_RELAY, ("  service: http://*:9941\n", "  service: https://*:9941\n  service_key: /etc/tls.key\n")],
        [(7, "relay.service", "https:// needs service_certificate as well")],
    ),
    (
        "a certificate without https",
        [IS_RELAY, ("  service: http://*:9941\n", "  service: http://*:9941\n  service_certificate: /etc/tls.crt\n")],
        [(8, "relay.service_certificate", "does nothing for a service with http://")],
    ),
    (
        "an unknown tree",
        [IS_RELAY, ("  service: http://*:9941\n", "  service: http://*:9941\n  trees: [debain]\n")],
        [(8, "relay.trees", "there is no tree debain: trees has debian, fedora")],
    ),
    (
        "a tree with filters that is named",
        [
            IS_RELAY,
            ("  service: http://*:9941\n", "  service: http://*:9941\n  trees: [fedora]\n"),
            ("    coalesce: 5s\n", "    exclude: ['*.iso']\n"),
        ],
        [(26, "trees.fedora.exclude", "cannot be handed on")],
    ),
]


@pytest.mark.parametrize(("replacements", "faults"), [fault[1:] for fault in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_about_relays(
    tmp_path: Path, replacements: list[Replacement], faults: list[tuple[int, str, str]]
) -> None:
    """Each is told once, with its line and what to do."""
    with pytest.raises(SettingsError) as raised:
        load_subscriber(write_subscriber(tmp_path, *replacements))
    found = raised.value.faults
    assert [(fault.line, fault.key) for fault in found] == [fault[:2] for fault in faults], str(raised.value)
    assert all(part in fault.message for fault, (_, _, part) in zip(found, faults, strict=True)), str(raised.value)


def test_an_upstream_with_relays_needs_nothing_of_the_publisher_but_its_keys(tmp_path: Path) -> None:
    """Its own bus and service may be out of reach."""
    upstream = load_subscriber(write_subscriber(tmp_path, PUBLISH, SERVICE, FOLLOWED)).upstreams["main"]
    assert (upstream.publish, upstream.service, list(upstream.relays)) == (None, None, ["r1.example.net"])
    assert upstream.relays["r1.example.net"].public_keys == upstream.public_keys


def test_a_relay_hands_on_all_trees_unless_some_are_named(tmp_path: Path) -> None:
    """One with filters among all is no fault: the daemon says that it is left out."""
    filtered = ("    coalesce: 5s\n", "    exclude: ['*.iso']\n")
    relay = load_subscriber(write_subscriber(tmp_path, IS_RELAY, filtered)).relay
    assert relay is not None
    assert (relay.trees, relay.heartbeat_ms, relay.history.age_ms) == (None, 30_000, 30 * 86_400_000)
