"""What settings say about who may listen and ask: what belongs together, and the keys on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.core.curve import CurveKey
from pushmirror.curve import generate_curve_file
from pushmirror.errors import SettingsError
from pushmirror.settings.load import load_and_inspect_publisher, load_and_inspect_subscriber

from .examples import make_surroundings, write_publisher, write_subscriber

PLAIN = "  environment: prod\n"
SERVICE = "service: http://127.0.0.1:9941"
KEY = CurveKey(bytes(32), "mirror.example.org")


def write_private(root: Path, *replacements: tuple[str, str]) -> Path:
    """Write the file of a private publisher, with its key."""
    make_surroundings(root)
    generate_curve_file(root / "bus", "mirror.example.org")
    curve = (PLAIN, f"{PLAIN}  curve: {root}/bus\nprivate: true\n")
    return write_publisher(root, curve, *replacements)


def faults(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as caught:
        load_and_inspect_publisher(path)
    return [(fault.key, fault.message) for fault in caught.value.faults]


def test_a_private_publisher_needs_a_key_a_list_and_nobody_on_the_way(tmp_path: Path) -> None:
    """On loopback, with a named proxy or with https it is taken; without what it needs each lack is told."""
    settings = load_and_inspect_publisher(write_private(tmp_path))
    assert (settings.private, settings.bus.curve) == (True, tmp_path / "bus")


@pytest.mark.parametrize("proxies", ["", "trusted_proxies: [10.0.0.1]\n"])
def test_a_private_service_is_not_read_on_its_way(tmp_path: Path, proxies: str) -> None:
    """Plain http beyond loopback is for the way from a proxy that is named."""
    path = write_private(tmp_path, (f"{SERVICE}\n", f"service: http://192.0.2.1:9941\n{proxies}"))
    if proxies:
        assert load_and_inspect_publisher(path).private
    else:
        ((key, text),) = faults(path)
        assert key == "service" and "https://" in text


def test_what_private_lacks_is_told_at_once(tmp_path: Path) -> None:
    """Neither a list nor a key: two faults, at `private`."""
    make_surroundings(tmp_path)
    nodes = f"authorized_nodes: {tmp_path}/authorized_nodes\n"
    found = faults(write_publisher(tmp_path, (nodes, "private: true\n")))
    assert [key for key, _ in found] == ["private", "private"]
    assert "authorized_nodes" in found[0][1] and "bus.curve" in found[1][1]


def test_a_key_on_the_disk_has_to_be_closed_and_whole(tmp_path: Path) -> None:
    """Open to others, without its public half, with another's, and missing: each has its own sentence."""
    path = write_private(tmp_path)
    bus = tmp_path / "bus"
    bus.chmod(0o644)
    assert "chmod 600" in faults(path)[0][1]
    bus.chmod(0o600)
    (tmp_path / "bus.pub").write_text(f"{KEY.line}\n")
    assert "not the public half" in faults(path)[0][1]
    (tmp_path / "bus.pub").unlink()
    ((key, text),) = faults(path)
    assert key == "bus.curve" and "curve25519 " in text
    bus.unlink()
    assert "keygen --curve" in faults(path)[0][1]


def test_a_subscriber_names_keys_by_their_line_or_alone(tmp_path: Path) -> None:
    """The line of the .pub file and the key in it mean the same; its own key and a relay's are checked on the disk."""
    make_surroundings(tmp_path)
    generate_curve_file(tmp_path / "own", "t2.example.net")
    for text in (KEY.line, KEY.text):
        upstream = ("    keys:\n", f"    curve: {text!r}\n    keys:\n")
        own = ("upstreams:\n", f"curve: {tmp_path}/own\nupstreams:\n")
        settings = load_and_inspect_subscriber(write_subscriber(tmp_path, upstream, own))
        assert (settings.upstreams["main"].curve, settings.curve) == (KEY.text, tmp_path / "own")
    bad = ("    keys:\n", "    curve: nonsense\n    keys:\n")
    with pytest.raises(SettingsError, match=r"upstreams\.main\.curve: a CURVE key is 40 characters"):
        load_and_inspect_subscriber(write_subscriber(tmp_path, bad))
