"""Whatever happens to a tree, a scan finds exactly the difference between two looks at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pushmirror.core.paths import ancestors
from pushmirror.core.scanning import Scope
from tests.publisher.detect.edits import KEPT, Editor, difference, look
from tests.publisher.detect.scanned import KNOWN, THOROUGH, ScannedTree

pytestmark = pytest.mark.slow

SEQUENCES, FULL_SEQUENCES, ROUNDS = 20, 1500, 6


def check_sequence(folder: Path, seed: int, scope: Scope) -> None:
    """Edit and scan in turns, now and then with everything settled, and compare each list with what two looks say."""
    folder.mkdir()
    tree = ScannedTree(folder)
    editor = Editor(tree, seed, in_place=scope == THOROUGH)
    tree.write(KEPT)
    editor.edit(40)
    tree.scan()
    for number in range(ROUNDS):
        if (seed + number) % 2:
            assert tree.settle().announced is None
        before = look(tree.root)
        editor.edit(1 + (seed * 7 + number * 3) % 12)
        after = look(tree.root)
        found = tree.find(scope)
        put, deleted = difference(before, after)
        assert (set(found.changed), set(found.deleted), found.directories) == (put, deleted, ()), (seed, number)
        folders = {path for path in put if len(after[path]) == 2}
        assert set(found.bare) == folders - {above for path in put for above in ancestors(path)}, (seed, number)
        check_pairs(tree.root, found.linked, {path for path in put if len(after[path]) > 2}, set(after))


def check_pairs(root: Path, linked: object, put: set[bytes], there: set[bytes]) -> None:
    """Each put name of an inode that has a name which is not put is paired with one such name; no other is."""
    inode = {path: os.lstat(os.path.join(os.fsencode(root), path)).st_ino for path in there}
    settled = {inode[path] for path in there - put}
    pairs = dict(linked)  # type: ignore[call-overload]  # pairs of names
    assert set(pairs) == {path for path in put if inode[path] in settled}
    assert all(inode[path] == inode[other] and other not in put for path, other in pairs.items())


@pytest.mark.parametrize("scope", [KNOWN, THOROUGH], ids=["known", "thorough"])
def test_a_scan_finds_exactly_the_difference(tmp_path: Path, scope: Scope) -> None:
    """Renames, links and unlinks for the scan of directories; edits in place and attributes too for a thorough one."""
    for seed in range(SEQUENCES):
        check_sequence(tmp_path / str(seed), seed, scope)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scope", [KNOWN, THOROUGH], ids=["known", "thorough"])
def test_a_scan_finds_exactly_the_difference_in_many_sequences(tmp_path: Path, scope: Scope) -> None:
    """The same, so often that rare sequences come up."""
    for seed in range(1000, 1000 + FULL_SEQUENCES):
        check_sequence(tmp_path / str(seed), seed, scope)
