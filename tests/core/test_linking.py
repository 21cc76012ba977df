"""Which names get a settled one beside them."""

from __future__ import annotations

from dataclasses import dataclass

from pushmirror.core.linking import link_pairs
from pushmirror.core.paths import TreePath


@dataclass(frozen=True)
class Inode:
    st_ino: int
    st_nlink: int
    st_dev: int = 1


def pairs(listed: dict[bytes, Inode | None], settled: dict[int, bytes]) -> list[tuple[bytes, bytes]]:
    known = {number: TreePath(name) for number, name in settled.items()}
    statuses = {TreePath(name): inode for name, inode in listed.items()}
    return list(link_pairs(statuses, statuses.__getitem__, lambda path, inode: known.get(inode.st_ino)))


def test_a_name_that_shares_its_inode_with_a_settled_one_gets_it() -> None:
    """Every listed name of such an inode has its pair."""
    listed = {b"b": Inode(1, 3), b"a": Inode(1, 3)}
    assert pairs(listed, {1: b"old"}) == [(b"a", b"old"), (b"b", b"old")]


def test_names_that_are_all_listed_need_no_pair() -> None:
    """rsync links the names of one run with each other; a file with one name needs nothing at all."""
    assert pairs({b"a": Inode(1, 2), b"b": Inode(1, 2), b"c": Inode(2, 1)}, {1: b"a", 2: b"x"}) == []


def test_there_is_no_pair_without_another_name() -> None:
    """A settled name that nobody knows, or that is listed itself, makes no pair; nor does what is not there."""
    assert pairs({b"a": Inode(1, 3), b"b": Inode(2, 3), b"gone": None}, {1: b"b"}) == []
