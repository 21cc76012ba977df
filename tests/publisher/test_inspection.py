"""What an operator names, held against the tree on disk."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath
from pushmirror.errors import UsageError
from pushmirror.publisher.inspection import Wanted, inspect, inspect_root, split_list


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "pool" / "main").mkdir(parents=True)
    (root / "pool" / "main" / "a.deb").write_bytes(b"12345")
    (root / "pool" / "main" / "b.deb").write_bytes(b"123")
    os.link(root / "pool" / "main" / "b.deb", root / "second name")
    (root / "link").symlink_to("pool/main")
    (root / "dangling").symlink_to("nowhere")
    (root / "-rf").write_bytes(b"")
    (root / os.fsdecode(b"odd\xff\n")).write_bytes(b"1")
    return root


def changes(
    changed: tuple[bytes, ...] = (),
    deleted: tuple[bytes, ...] = (),
    directories: tuple[bytes, ...] = (),
    bare: tuple[bytes, ...] = (),
) -> ChangeList:
    put, gone, recursive, alone = (tuple(map(TreePath, paths)) for paths in (changed, deleted, directories, bare))
    return ChangeList(put, gone, recursive, bare=alone)


def problems(tree: Path, wanted: Wanted, *, force: bool = False) -> list[str]:
    with pytest.raises(UsageError) as caught:
        inspect(tree, wanted, force=force)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(puts=(b"pool/main/a.deb",)), changes((b"pool/main/a.deb",))),
        (Wanted(puts=(b"./pool/main/a.deb",)), changes((b"pool/main/a.deb",))),
        (Wanted(puts=(b"././/pool/main/",)), changes((b"pool/main",), bare=(b"pool/main",))),
        (Wanted(puts=(b"pool", b"pool/main", b"-rf")), changes((b"-rf", b"pool", b"pool/main"), bare=(b"pool/main",))),
        (Wanted(puts=(b"link/", b"dangling")), changes((b"dangling", b"link"))),
        (Wanted(puts=(b"-rf", b"odd\xff\n")), changes((b"-rf", b"odd\xff\n"))),
        (Wanted(puts=(b"pool", b"./pool", b"pool/"), listed=(b"pool",)), changes((b"pool",), bare=(b"pool",))),
        (Wanted(listed=(b".", b"./", b"./pool")), changes((b"pool",), bare=(b"pool",))),
        (Wanted(deletions=(b"gone", b"gone/below", b"pool/gone", b"second name/x")),
         changes(deleted=(b"gone", b"pool/gone", b"second name/x"))),
        (Wanted(directories=(b"pool/main/", b"pool")), changes(directories=(b"pool",))),
        (Wanted(puts=(b"pool",), directories=(b"pool",)),
         changes((b"pool",), directories=(b"pool",), bare=(b"pool",))),
        (Wanted((b"link",), (b"-rf",), (b"gone",), (b"pool",)), changes((b"-rf", b"link"), (b"gone",), (b"pool",))),
    ],
)  # fmt: skip
def test_good_paths_become_a_change_list(tree: Path, wanted: Wanted, expected: ChangeList) -> None:
    """Paths come out as they are in the tree, sorted, each once."""
    assert inspect(tree, wanted, force=False).changes == expected


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (Wanted(puts=(b"/etc/passwd",)), "absolute"),
        (Wanted(puts=(b"//pool",)), "absolute"),
        (Wanted(puts=(b"../secret",)), "'..'"),
        (Wanted(puts=(b"./../secret",)), "'..'"),
        (Wanted(puts=(b"pool/../../secret",)), "'..'"),
        (Wanted(deletions=(b"..",)), "'..'"),
        (Wanted(directories=(b"pool/..",)), "'..'"),
        (Wanted(listed=(b"/",)), "absolute"),
        (Wanted(puts=(b"",)), "root of the tree"),
        (Wanted(puts=(b".",)), "--whole-tree"),
        (Wanted(directories=(b"./",)), "--whole-tree"),
        (Wanted(deletions=(b"/",)), "absolute"),
        (Wanted(puts=(b"pool//main",)), "part ''"),
        (Wanted(puts=(b"x" * 256,)), "255 bytes"),
        (Wanted(puts=(b"a/" * 2000 + b"a",)), "3072 bytes"),
        (Wanted(puts=(b"pool\0main",)), "NUL"),
        (Wanted(puts=(b"pool/.~tmp~/x",)), "reserved"),
        (Wanted(puts=(b"link/a.deb",)), "behind the symlink 'link'"),
        (Wanted(puts=(b"link/deeper/a.deb",)), "behind the symlink 'link'"),
        (Wanted(deletions=(b"link/gone",)), "behind the symlink 'link'"),
        (Wanted(puts=(b"pool",), deletions=(b"pool",)), "--force"),
    ],
)
def test_paths_that_could_do_harm_are_refused_with_their_reason(tree: Path, wanted: Wanted, problem: str) -> None:
    """Whatever leads out of the tree, or is more or less than a path in it, is named and refused."""
    told = problems(tree, wanted)
    assert len(told) == 2 and problem in told[0]
    assert told[1] == "nothing was announced"


@pytest.mark.parametrize(
    ("wanted", "forced", "problem"),
    [
        (Wanted(puts=(b"missing",)), changes((b"missing",)), "not there"),
        (Wanted(listed=(b"second name/x",)), changes((b"second name/x",)), "not there"),
        (Wanted(directories=(b"missing",)), changes(directories=(b"missing",)), "not there"),
        (Wanted(deletions=(b"pool/main",)), changes(deleted=(b"pool/main",)), "still there"),
        (Wanted(deletions=(b"dangling",)), changes(deleted=(b"dangling",)), "still there"),
    ],
)
def test_what_the_disk_does_not_confirm_needs_force(
    tree: Path, wanted: Wanted, forced: ChangeList, problem: str
) -> None:
    """A put that is missing and a deletion of what is there are refused, unless the operator insists."""
    assert problem in problems(tree, wanted)[0]
    assert inspect(tree, wanted, force=True).changes == forced


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(puts=(b"../x",)),
        Wanted(puts=(b"/x",)),
        Wanted(puts=(b"link/a.deb",)),
        Wanted(puts=(b"pool", b"x"), deletions=(b"x",)),
        Wanted(directories=(b"-rf",)),
    ],
)
def test_force_lets_no_harmful_path_through(tree: Path, wanted: Wanted) -> None:
    """To insist is about what is on the disk, not about what a path may be."""
    problems(tree, wanted, force=True)


def test_a_file_is_no_directory(tree: Path) -> None:
    """What is to be compared recursively has to be a directory, and a symlink to one is none."""
    told = problems(tree, Wanted(directories=(b"-rf", b"link")))
    assert all("not a directory" in line for line in told[:2])


def test_what_mirrors_do_not_take_is_refused(tree: Path) -> None:
    """Sockets and pipes are not mirrored, so that nobody must wait for them."""
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(tree / "sock"))
    told = problems(tree, Wanted(puts=(b"fifo", b"sock")))
    assert all("neither a file" in line for line in told[:2])


def test_all_problems_are_told_at_once_and_no_more_than_can_be_read(tree: Path) -> None:
    """Twenty problems are shown, and the number of the others."""
    told = problems(tree, Wanted(puts=tuple(b"missing %d" % number for number in range(25))))
    assert len(told) == 22
    assert told[-2:] == ["... and 5 more", "nothing was announced"]


def test_problems_of_every_kind_come_together(tree: Path) -> None:
    """One wrong deletion does not hide a wrong put."""
    told = problems(tree, Wanted((b"../x",), (b"missing",), (b"pool",), (b"-rf",)))
    assert len(told) == 5


def test_an_unreadable_directory_is_not_taken_for_a_deletion(tree: Path) -> None:
    """What cannot be looked at is a problem, and never counts as gone."""
    if os.geteuid() == 0:
        # Root may look everywhere; a loop of symlinks above the tree is what it cannot pass either.
        loop = tree.parent / "loop"
        loop.symlink_to("loop")
        with pytest.raises(UsageError, match="cannot be read"):
            inspect(loop / "tree", Wanted(deletions=(b"gone",)), force=True)
        return
    (tree / "pool").chmod(0)
    try:
        assert "cannot be looked at" in problems(tree, Wanted(deletions=(b"pool/main/gone",)))[0]
    finally:
        (tree / "pool").chmod(0o755)


def test_sizes_are_summed_and_hardlinks_count_once(tree: Path) -> None:
    """The announced volume is that of the files that are put."""
    wanted = Wanted(puts=(b"pool/main/a.deb", b"pool/main/b.deb", b"second name", b"link", b"pool"))
    inspection = inspect(tree, wanted, force=False)
    assert inspection.bytes == 5 + 3
    assert inspection.notes == ()


def test_a_hardlinked_name_that_is_left_out_is_mentioned(tree: Path) -> None:
    """Mirrors make a copy of a name whose other names are not announced with it; the operator is told."""
    (note,) = inspect(tree, Wanted(puts=(b"second name",)), force=False).notes
    assert "1 of the files" in note


@pytest.mark.parametrize("mtime_ns", [1_700_000_000_123_456_789, 0, -1])
def test_the_time_of_the_root_is_told_where_it_can_be(tree: Path, mtime_ns: int) -> None:
    """The root's time is exact to the nanosecond; before 1970 there is none."""
    os.utime(tree, ns=(mtime_ns, mtime_ns))
    expected = mtime_ns if mtime_ns >= 0 else None
    assert inspect(tree, Wanted(puts=(b"pool",)), force=False).root_mtime_ns == expected
    assert inspect_root(tree, force=False) == expected


@pytest.mark.parametrize("ask", [lambda root: inspect(root, Wanted(deletions=(b"x",)), force=False),
                                 lambda root: inspect_root(root, force=False)])  # fmt: skip
def test_an_empty_tree_is_an_unmounted_disk(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    """Deletions in an empty folder would be confirmed by the disk's absence; they need force."""
    with pytest.raises(UsageError, match="mounted"):
        ask(tmp_path)
    assert inspect(tmp_path, Wanted(deletions=(b"x",)), force=True).changes == changes(deleted=(b"x",))


def test_a_missing_tree_is_refused_even_with_force(tmp_path: Path) -> None:
    """Without its folder there is no tree to announce."""
    with pytest.raises(UsageError, match="mounted"):
        inspect_root(tmp_path / "nowhere", force=True)


def test_a_list_with_nothing_in_it_is_refused(tree: Path) -> None:
    """An empty list announces nothing, and says so."""
    assert problems(tree, Wanted(listed=(b".",))) == ["the list is empty: nothing was announced"]


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"", ()),
        (b"\n\n", ()),
        (b"a\nb c\n", (b"a", b"b c")),
        (b"a\nb", (b"a", b"b")),
        (b"a\0b\n\0", (b"a", b"b\n")),
        (b"one\nname\0", (b"one\nname",)),
        (b"\xff\r\n", (b"\xff\r",)),
    ],
)
def test_lists_are_separated_by_newlines_or_nul(content: bytes, paths: tuple[bytes, ...]) -> None:
    """A NUL anywhere means that newlines belong to names."""
    assert split_list(content) == paths
