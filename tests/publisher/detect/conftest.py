"""What the tests of scanning share: a tree, and scans of it with its journal and index in a state folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.publisher.detect.scanned import ScannedTree


@pytest.fixture
def scanned(tmp_path: Path) -> ScannedTree:
    """A small tree that was scanned once."""
    tree = ScannedTree(tmp_path)
    tree.write("pool/a/one.deb", b"one")
    tree.write("pool/a/two.deb", b"two")
    tree.write("pool/b/three.deb", b"three")
    tree.symlink("latest", "pool/a/two.deb")
    assert tree.scan().first
    return tree
