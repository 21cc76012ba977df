"""Settings that are good, for tests to spoil: as text, and with the folders and files that they name."""

from __future__ import annotations

from pathlib import Path

from pushmirror.keys import generate_key_file

PUBLIC_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFuUoIi10DO/8LNEIO/LCCQ6myesPbwULAzEjgqc6BgY mirror.example.org"

# The numbers of the lines are what the tests of faults compare: add new keys at the end.
PUBLISHER = """\
name: mirror.example.org
state_dir: {root}/state
key: {root}/publisher.key
bus:
  publish: tcp://127.0.0.1:9940
  topic_prefix: org.example
  environment: prod
service: http://127.0.0.1:9941
control: {root}/publisher.sock
trees:
  debian:
    path: {root}/debian
    max_clients: 20
  fedora:
    path: {root}/fedora
authorized_nodes: {root}/authorized_nodes
"""

SUBSCRIBER = """\
name: t2.example.net
state_dir: {root}/state
key: {root}/subscriber.key
control: {root}/subscriber.sock
upstreams:
  main:
    publish: tcp://127.0.0.1:9940
    service: http://127.0.0.1:9941
    topic_prefix: org.example
    environment: prod
    keys:
      - {key}
trees:
  debian:
    upstream: main
    source: rsync://127.0.0.1:8730/debian/
    path: {root}/debian
  fedora:
    upstream: main
    source: rsync://127.0.0.1:8730/fedora/
    path: {root}/fedora
    coalesce: 5s
"""


def write_publisher(root: Path, *replacements: tuple[str, str]) -> Path:
    """Write a publisher's file into `root`, each first text of `replacements` replaced by the second."""
    return _write(root / "publisher.yaml", PUBLISHER.format(root=root), replacements)


def write_subscriber(root: Path, *replacements: tuple[str, str]) -> Path:
    """Write a subscriber's file into `root`, each first text of `replacements` replaced by the second."""
    return _write(root / "subscriber.yaml", SUBSCRIBER.format(root=root, key=PUBLIC_LINE), replacements)


def make_surroundings(root: Path) -> None:
    """Make what both files name: trees, state folder, keys and authorised nodes."""
    for folder in ("state", "debian", "fedora"):
        (root / folder).mkdir()
    for role in ("publisher", "subscriber"):
        generate_key_file(root / f"{role}.key", comment=role)
    (root / "authorized_nodes").write_text("")


def _write(path: Path, text: str, replacements: tuple[tuple[str, str], ...]) -> Path:
    for old, new in replacements:
        assert old in text, f"the example has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)
    return path
