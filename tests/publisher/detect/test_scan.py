"""Scans: what they find by the times of directories, what only a thorough one finds, and what they never announce."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.model import ChangeList
from pushmirror.core.scanning import SETTLING_NS, Scope
from pushmirror.errors import PushmirrorError, StateError, TimedOut, UsageError
from pushmirror.publisher.detect.run_lock import held_for_run
from pushmirror.publisher.detect.scan_lock import held_for_scan
from tests.publisher.detect.scanned import KNOWN, THOROUGH, ScannedTree, during, names

NOBODY = 65534


def test_the_first_scan_announces_the_whole_tree(tmp_path: Path) -> None:
    """Without an index nobody knows what changed before, so mirrors are told to compare everything, once."""
    tree = ScannedTree(tmp_path)
    tree.write("pool/a.deb")
    result = tree.scan()
    assert result.first and result.announced is not None and result.announced.whole
    assert (tree.scan().announced, tree.serial()) == (None, 1)


def test_nothing_is_announced_when_nothing_changed(scanned: ScannedTree) -> None:
    """A second scan reads again what had not settled, finds it as it was, and a third reads nothing at all."""
    assert scanned.settle().announced is None
    result = scanned.scan()
    assert (result.announced, result.directories_read, scanned.serial()) == (None, 0, 1)


def test_a_scan_reads_only_what_changed(scanned: ScannedTree) -> None:
    """A file that comes by a rename has its directory read, and no other."""
    scanned.settle()
    scanned.write("pool/b/three.deb", b"changed")
    result = scanned.scan()
    assert (result.directories_read, result.changed, result.deleted, result.bytes) == (1, 1, 0, 7)
    assert scanned.announced(2) == ChangeList(changed=names("pool/b/three.deb"))


def test_new_changed_and_deleted_names_are_found(scanned: ScannedTree) -> None:
    """Files, symlinks and directories; of a directory that is gone the topmost, of a new one every entry."""
    scanned.settle()
    shutil.rmtree(scanned.path("pool/a"))
    scanned.symlink("latest", "pool/b/three.deb")
    scanned.write("dists/sid/Release", b"release")
    scanned.path("dists/empty").mkdir()
    found = scanned.find()
    assert found.changed == names("latest", "dists", "dists/sid", "dists/sid/Release", "dists/empty")
    assert found.deleted == names("pool/a")


def test_kinds_that_replace_each_other_are_put_and_not_deleted(scanned: ScannedTree) -> None:
    """A file in the place of a directory, a directory in that of a file, a symlink in that of either."""
    scanned.settle()
    shutil.rmtree(scanned.path("pool/a"))
    scanned.write("pool/a")
    scanned.path("pool/b/three.deb").unlink()
    scanned.write("pool/b/three.deb/inside")
    found = scanned.find()
    assert found.changed == names("pool/a", "pool/b/three.deb", "pool/b/three.deb/inside")
    assert found.deleted == found.bare == ()


def test_a_file_that_is_a_directory_when_the_scan_ends_is_told_as_it_was_read(scanned: ScannedTree) -> None:
    """Only so do mirrors know that nothing of what they have below that name is left."""
    scanned.write("pool/a.d/old")
    scanned.settle()
    shutil.rmtree(scanned.path("pool/a.d"))
    path = scanned.write("pool/a.d")

    def replace() -> None:
        path.unlink()
        scanned.write("pool/a.d/new")

    found = scanned.find(before_reading=during(b"pool/b", replace))
    assert (found.changed, found.bare) == (names("pool/a.d"), ())
    assert scanned.find().changed == names("pool/a.d", "pool/a.d/new")


def test_a_moved_directory_is_gone_and_new(scanned: ScannedTree) -> None:
    """What is below it is announced under its new name, although nothing in it was touched."""
    scanned.settle()
    scanned.path("pool/a").rename(scanned.path("pool/c"))
    found = scanned.find()
    assert found.changed == names("pool/c", "pool/c/one.deb", "pool/c/two.deb")
    assert found.deleted == names("pool/a")


def test_directories_that_change_places_are_seen_to_the_bottom(scanned: ScannedTree) -> None:
    """Below the two that were renamed no time moved, but other inodes stand under the known names."""
    for name in ("x", "y"):
        scanned.write(f"{name}/deep/deeper/file", name.encode())
    scanned.settle()
    scanned.path("x").rename(scanned.path("z"))
    scanned.path("y").rename(scanned.path("x"))
    scanned.path("z").rename(scanned.path("y"))
    assert set(names("x/deep/deeper/file", "y/deep/deeper/file")) <= set(scanned.find().changed)


def test_attributes_of_a_directory_are_announced_when_nothing_in_it_explains_them(scanned: ScannedTree) -> None:
    """Permissions or a time that somebody set; the time that a new file moves comes right with the file."""
    scanned.settle()
    scanned.path("pool/a").chmod(0o700)
    os.utime(scanned.path("pool/b"), ns=(10**18, 10**18))
    found = scanned.find()
    assert found.changed == found.bare == names("pool/a", "pool/b")
    scanned.settle()
    scanned.write("pool/a/four.deb")
    assert scanned.find().changed == names("pool/a/four.deb")


def test_the_time_of_the_root_is_announced_by_itself(scanned: ScannedTree) -> None:
    """An update without paths tells it, once."""
    scanned.settle()
    os.utime(scanned.root, ns=(10**18, 10**18))
    result = scanned.scan()
    assert result.announced is not None
    assert scanned.announced(result.announced.serial) == ChangeList()
    assert scanned.scan().announced is None


def test_edits_in_place_need_a_thorough_scan(scanned: ScannedTree) -> None:
    """Appending, chmod and touch leave the directory's ctime alone."""
    scanned.settle()
    with scanned.path("pool/a/one.deb").open("ab") as file:
        file.write(b"more")
    scanned.path("pool/a/two.deb").chmod(0o600)
    os.utime(scanned.path("latest"), ns=(10**18, 10**18), follow_symlinks=False)
    assert scanned.find(KNOWN) == ChangeList()
    assert scanned.find(THOROUGH).changed == names("latest", "pool/a/one.deb", "pool/a/two.deb")


def test_a_file_that_is_still_being_written_is_looked_at_again(scanned: ScannedTree) -> None:
    """A file that was created in place grows after the scan saw it: the next scan sees that."""
    scanned.settle()
    with scanned.path("pool/a/growing").open("wb") as file:
        file.write(b"first")
        file.flush()
        assert scanned.find().changed == names("pool/a/growing")
        file.write(b"second")
    assert scanned.find().changed == names("pool/a/growing")


def test_a_young_file_keeps_its_old_directory_unsettled(scanned: ScannedTree) -> None:
    """Its directory was at rest before it was opened: a scan between two writes has the directory read again."""
    scanned.settle()
    directory, path = scanned.path("pool/a"), scanned.path("pool/a/one.deb")
    between_ns = directory.stat().st_ctime_ns + 1
    scanned.wait_for_tick()
    with path.open("ab") as file:
        file.write(b"first")
        file.flush()
        assert path.stat().st_ctime_ns > between_ns
        here = Scope(directories=frozenset({b"pool/a"}))
        assert scanned.find(here, clock_ns=lambda: between_ns + SETTLING_NS).changed == names("pool/a/one.deb")
        file.write(b"second")
    assert scanned.find().changed == names("pool/a/one.deb")


def test_a_change_in_the_moment_of_the_scan_is_seen_by_the_next(scanned: ScannedTree) -> None:
    """A directory's ctime ticks coarsely: one that was read within the tick of a change is read again."""
    scanned.settle()
    scanned.write("pool/a/first")
    scanned.scan()
    status = os.stat(scanned.path("pool/a"))
    scanned.write("pool/a/second")
    os.utime(scanned.path("pool/a"), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert names("pool/a/second") == scanned.find().changed


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_step_of_the_clock_hides_nothing(scanned: ScannedTree, hours: int) -> None:
    """The clock is a day wrong at one scan and right at the next: changes in between are found."""
    scanned.scan(ahead_ns=hours * 3600 * 10**9)
    scanned.write("pool/a/new")
    assert scanned.find().changed == names("pool/a/new")


def test_temporary_files_and_folders_are_passed_over(scanned: ScannedTree) -> None:
    """What rsync is writing, and the folders that hold what is not in place yet."""
    scanned.settle()
    for name in (".~tmp~/file", ".~pushmirror~/x"):
        scanned.write(name)
    scanned.write("pool/a/.one.deb.Ab3xYz").chmod(0o600)
    assert scanned.find() == ChangeList()
    scanned.path("pool/a/.one.deb.Ab3xYz").rename(scanned.path("pool/a/one.deb"))
    assert scanned.find().changed == names("pool/a/one.deb")


def test_an_honest_name_that_looks_temporary_is_announced_when_it_is_old(scanned: ScannedTree) -> None:
    """``.htaccess.backup`` has six letters at its end; open to others and settled, it is a file like any other."""
    scanned.settle()
    scanned.write(".htaccess.backup").chmod(0o644)
    assert scanned.find().changed == ()
    assert scanned.settle().announced is not None
    assert scanned.announced(2).changed == names(".htaccess.backup")


def test_what_the_operator_excludes_is_not_announced(scanned: ScannedTree) -> None:
    """Neither when it comes nor when it goes, and a directory hides all that is in it."""
    scanned.exclude("*.partial", "/private/")
    scanned.scan()
    scanned.write("pool/a/x.partial")
    scanned.write("private/secret")
    scanned.write("pool/private/open")
    # A directory's time shows, whatever moved it; that of pool comes right with what is put in it.
    assert scanned.find().changed == names("pool/a", "pool/private", "pool/private/open")
    scanned.path("pool/a/x.partial").unlink()
    shutil.rmtree(scanned.path("private"))
    found = scanned.find()
    assert found.changed == found.bare == names("pool/a") and not found.deleted


def test_other_excludes_hide_without_a_deletion_and_show_without_a_rename(scanned: ScannedTree) -> None:
    """After a change of the settings what is hidden now is not deleted at the mirrors, and what is shown is put."""
    scanned.settle()
    scanned.exclude("one.deb", "/pool/b/")
    assert scanned.find() == ChangeList()
    scanned.exclude()
    assert scanned.find().changed == names("pool/a/one.deb", "pool/b", "pool/b/three.deb")


def test_a_hardlink_to_a_settled_name_carries_the_pair(scanned: ScannedTree) -> None:
    """So that mirrors link instead of copying; names that are all new need no pair, they come together."""
    scanned.settle()
    os.link(scanned.path("pool/a/one.deb"), scanned.path("pool/b/linked.deb"))
    scanned.write("pool/b/new one.deb")
    os.link(scanned.path("pool/b/new one.deb"), scanned.path("pool/b/new two.deb"))
    found = scanned.find()
    assert found.changed == names("pool/b/linked.deb", "pool/b/new one.deb", "pool/b/new two.deb")
    assert found.linked == ((b"pool/b/linked.deb", b"pool/a/one.deb"),)


def test_bytes_count_an_inode_once(scanned: ScannedTree) -> None:
    """Two names of one file bring its content once; symlinks and directories bring none."""
    scanned.settle()
    scanned.write("pool/c/big", b"x" * 1000)
    os.link(scanned.path("pool/c/big"), scanned.path("pool/c/same"))
    scanned.symlink("pool/c/link", "big")
    assert scanned.scan().bytes == 1000


def test_names_need_not_be_text(scanned: ScannedTree) -> None:
    """Any bytes but a slash and a NUL can be a name, and arrive in the list as they are."""
    scanned.settle()
    odd = [b"new\nline", b"-rf", b"\xff\xfe", b" space ", b"*"]
    for name in odd:
        with open(os.path.join(os.fsencode(scanned.root), name), "wb"):
            pass
    assert list(scanned.find().changed) == sorted(odd)


def test_special_files_are_passed_over(scanned: ScannedTree) -> None:
    """Mirrors take no pipes, only the time of the directory that one is in."""
    scanned.settle()
    os.mkfifo(scanned.path("pipe"))
    os.mkfifo(scanned.path("pool/a/pipe"))
    found = scanned.find()
    assert found.changed == found.bare == names("pool/a") and not found.deleted


def test_a_large_directory_is_compared_in_parts(scanned: ScannedTree) -> None:
    """More names than are compared at once, with changes at both ends and at the seams."""
    for number in range(4_500):
        scanned.path(f"pool/a/{number:05}").touch()
    scanned.settle()
    for name in ("00000", "01999", "02000", "04499"):
        scanned.path(f"pool/a/{name}").unlink()
    scanned.write("pool/a/02000a")
    scanned.write("pool/a/zzz")
    found = scanned.find()
    assert found.changed == names("pool/a/02000a", "pool/a/zzz")
    assert found.deleted == names(*(f"pool/a/{name}" for name in ("00000", "01999", "02000", "04499")))


def test_a_name_that_vanishes_during_the_scan_is_not_announced_as_put(scanned: ScannedTree) -> None:
    """It is looked at once more before the announcement; the next scan tells that it is gone, if it still is."""
    scanned.settle()
    path = scanned.write("pool/a/short")
    found = scanned.find(before_reading=during(b"pool/b", path.unlink))
    assert found == ChangeList()
    assert scanned.find().deleted == names("pool/a/short")


def test_a_name_that_vanishes_and_comes_back_the_same_is_announced(scanned: ScannedTree) -> None:
    """Moved away while the scan looked and back afterwards: same inode, same times, and still not at the mirrors."""
    scanned.settle()
    path, aside = scanned.write("pool/a/short"), scanned.root.parent / "aside"
    assert scanned.find(before_reading=during(b"pool/b", lambda: shutil.move(path, aside) and None)) == ChangeList()
    shutil.move(aside, path)
    assert scanned.find().changed == names("pool/a/short")


def test_a_directory_that_vanishes_during_the_scan_ends_nothing(scanned: ScannedTree) -> None:
    """Neither is it an error, nor is it lost: the next scan announces its deletion."""
    scanned.settle()
    remove = during(b"pool/b", lambda: shutil.rmtree(scanned.path("pool/b")))
    assert scanned.scan(THOROUGH, before_reading=remove).problems == ()
    assert scanned.find().deleted == names("pool/b")


def test_a_deletion_that_is_undone_during_the_scan_is_not_announced(scanned: ScannedTree) -> None:
    """What is back at the end is no deletion; the next scan announces it as put, as it may be another file."""
    scanned.settle()
    scanned.path("pool/a/one.deb").unlink()
    found = scanned.find(before_reading=during(b"pool/b", lambda: scanned.write("pool/a/one.deb") and None))
    assert found == ChangeList()
    assert scanned.find().changed == names("pool/a/one.deb")


def test_a_crash_after_the_announcement_announces_again(scanned: ScannedTree) -> None:
    """The index is committed after the journal: what was announced may be announced twice, and is never lost."""
    scanned.settle()
    kept = scanned.place.index_path.read_bytes()
    scanned.write("pool/a/new")
    assert scanned.find().changed == names("pool/a/new")
    scanned.place.index_path.write_bytes(kept)  # as if the power had gone between the two commits
    assert scanned.find().changed == names("pool/a/new")


def test_a_scan_that_ends_early_changes_nothing(scanned: ScannedTree) -> None:
    """An error in the middle leaves the index as it was, and nothing announced."""
    scanned.settle()
    scanned.write("pool/a/new")

    def fail() -> None:
        raise PushmirrorError("stop")

    with pytest.raises(PushmirrorError, match="stop"):
        scanned.scan(before_reading=during(b"pool/b", fail))
    assert scanned.serial() == 1
    assert scanned.find().changed == names("pool/a/new")


@pytest.mark.parametrize("damage", ["garbage", "other format", "missing"])
def test_an_index_that_cannot_be_used_is_built_again(scanned: ScannedTree, damage: str) -> None:
    """Nothing is asked of the operator: the whole tree is announced, and scans go on from there."""
    path = scanned.place.index_path
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    elif damage == "other format":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        path.unlink()
    result = scanned.scan()
    assert result.first and result.announced is not None and result.announced.whole
    scanned.write("pool/a/new")
    assert scanned.find().changed == names("pool/a/new")


def test_another_root_is_another_tree(scanned: ScannedTree) -> None:
    """When the settings name another folder, the old index says nothing about it."""
    scanned.root = scanned.root.rename(scanned.root.with_name("moved"))
    assert scanned.scan().first


def test_an_empty_root_is_refused(scanned: ScannedTree) -> None:
    """As an unmounted disk is: nothing is announced, and the files are known again when they are back."""
    aside = scanned.root.with_name("aside")
    scanned.settle()
    scanned.root.rename(aside)
    scanned.root.mkdir()
    with pytest.raises(UsageError, match="mounted"):
        scanned.scan()
    scanned.path(".~tmp~").mkdir()  # nor does what is passed over make a tree of it
    with pytest.raises(StateError, match="empty"):
        scanned.scan()
    shutil.rmtree(scanned.root)
    with pytest.raises(UsageError, match="mounted"):
        scanned.scan()
    aside.rename(scanned.root)
    assert (scanned.scan().announced, scanned.serial()) == (None, 1)


def test_an_empty_root_is_taken_by_force(scanned: ScannedTree) -> None:
    """An operator who says so has everything deleted."""
    for name in ("pool", "latest"):
        path = scanned.path(name)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert scanned.find(force=True).deleted == names("latest", "pool")


def test_two_scans_at_once_are_refused(scanned: ScannedTree) -> None:
    """The second waits as long as it is told to, and says why it gives up."""
    with held_for_scan(scanned.place.lock_path, wait_seconds=0), pytest.raises(TimedOut, match="another scan"):
        scanned.scan()
    assert scanned.scan().announced is None


def test_no_scan_announces_from_the_middle_of_a_run(scanned: ScannedTree) -> None:
    """While `pushmirror run` writes the tree; what it brings is found afterwards."""
    scanned.write("pool/a/new")
    with held_for_run(scanned.state_dir, "debian"), pytest.raises(StateError, match="run"):
        scanned.scan()
    assert scanned.find().changed == names("pool/a/new")


def test_only_the_directories_that_are_named_are_read(scanned: ScannedTree) -> None:
    """As a watch names them: edits in place in them are seen, changes elsewhere are left for their own turn."""
    scanned.settle()
    scanned.path("pool/a/one.deb").write_bytes(b"edited in place")
    scanned.path("pool/b/three.deb").write_bytes(b"edited too")
    assert scanned.find(Scope(directories=frozenset({b"pool/a"}))).changed == names("pool/a/one.deb")
    assert scanned.find(Scope(directories=frozenset({b"pool/b"}))).changed == names("pool/b/three.deb")


def test_below_a_directory_that_is_named_others_that_moved_are_read(scanned: ScannedTree) -> None:
    """A watch names the directory in which they were renamed; what stands in them now is found too."""
    for name in ("x", "y"):
        scanned.write(f"{name}/deep/deeper/file", name.encode())
    scanned.settle()
    scanned.path("x").rename(scanned.path("z"))
    scanned.path("y").rename(scanned.path("x"))
    scanned.path("z").rename(scanned.path("y"))
    found = scanned.find(Scope(directories=frozenset({b""})))
    assert set(names("x/deep/deeper/file", "y/deep/deeper/file")) <= set(found.changed)


@pytest.mark.parametrize("named", [b"pool/a", b"pool/a/below", b"pool", b""])
def test_a_named_directory_that_is_gone_has_the_one_above_it_read(scanned: ScannedTree, named: bytes) -> None:
    """Whatever a watch says about it, its deletion is found."""
    scanned.settle()
    shutil.rmtree(scanned.path("pool/a"))
    assert scanned.find(Scope(directories=frozenset({named}))).deleted in (names("pool/a"), ())
    scanned.scan()
    assert scanned.serial() == 2


def test_slices_see_the_whole_tree_once_in_a_round(scanned: ScannedTree) -> None:
    """Each slice looks at its share; after as many as were named, every edit in place was seen, and it starts again."""
    for number in range(40):
        scanned.write(f"pool/d{number:02}/file", b"before")
    scanned.settle()
    for _ in range(2):
        for number in range(40):
            with scanned.path(f"pool/d{number:02}/file").open("ab") as file:
                file.write(b"edited")
        found: list[bytes] = []
        for _ in range(10):
            part = scanned.find(Scope(slices=8)).changed
            assert len(part) <= 15
            found += part
        assert set(names(*(f"pool/d{number:02}/file" for number in range(40)))) <= set(found)


@contextlib.contextmanager
def plain_user_tree() -> Iterator[ScannedTree]:
    """A tree that was scanned, and whoever runs the tests is no superuser inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        # Outside pytest's own folder, which is closed to everybody else.
        tree = ScannedTree(Path(folder))
        tree.write("pool/a/one.deb")
        tree.write("pool/b/two.deb")
        if os.geteuid() == 0:
            for path in (Path(folder), *Path(folder).rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            tree.settle()
            yield tree
        finally:
            if os.getuid() == 0:
                os.seteuid(0)


@pytest.mark.parametrize("mode", [0, 0o400])
def test_an_unreadable_directory_is_reported_and_not_deleted(mode: int) -> None:
    """One that cannot be read at all, and one whose names alone can be: the rest of the tree is announced."""
    with plain_user_tree() as tree:
        tree.path("pool/a").chmod(mode)
        tree.write("pool/b/new")
        result = tree.scan(THOROUGH)
        tree.path("pool/a").chmod(0o755)
        assert [problem for problem in result.problems if "pool/a" in problem and "right to read" in problem]
        assert tree.announced(2) == ChangeList(changed=names("pool/b/new"))
        assert tree.find() == ChangeList()


def test_a_new_directory_that_cannot_be_read_is_read_as_soon_as_it_can(tmp_path: Path) -> None:
    """It is announced by itself first, and with all that is in it when somebody gives the right to read it."""
    with plain_user_tree() as tree:
        tree.write("pool/c/file")
        tree.path("pool/c").chmod(0)
        assert tree.find().changed == names("pool/c")
        tree.path("pool/c").chmod(0o755)
        assert names("pool/c/file")[0] in tree.find().changed


def mark_mounted(tree: ScannedTree, name: bytes) -> None:
    """Have the index say that a file system was mounted on a directory when it was read."""
    with contextlib.closing(sqlite3.connect(tree.place.index_path)) as index, index:
        assert index.execute("UPDATE directories SET mounted = 1 WHERE path = ?", (name,)).rowcount == 1


@pytest.mark.parametrize("gone", [b"pool/a", b"pool/b"])
def test_what_was_on_a_mount_that_vanished_is_not_deleted(scanned: ScannedTree, gone: bytes) -> None:
    """An unmounted disk leaves an empty directory: it is reported and left out, and the rest is announced."""
    scanned.settle()
    mark_mounted(scanned, gone)
    for name in os.listdir(scanned.path(gone.decode())):
        scanned.path(f"{gone.decode()}/{name}").unlink()
    scanned.write("elsewhere")
    for scope in (KNOWN, THOROUGH, Scope(directories=frozenset({gone, b"pool"}))):
        result = scanned.scan(scope)
        assert [problem for problem in result.problems if "mounted" in problem and gone.decode() in problem]
        assert result.deleted == 0
    assert scanned.announced(2).changed == names("elsewhere")
    assert len(scanned.find(force=True).deleted) > 0


@pytest.mark.parametrize("removed", ["pool/a", "pool"])
def test_a_mount_point_that_is_removed_altogether_is_not_deleted_either(scanned: ScannedTree, removed: str) -> None:
    """As an automounter does when it unmounts; a directory above one counts as one."""
    scanned.settle()
    mark_mounted(scanned, b"pool/a")
    shutil.rmtree(scanned.path(removed))
    for _ in range(3):
        result = scanned.settle()
        assert len(result.problems) == 1 and "mounted" in result.problems[0]
        assert result.deleted == 0
    assert scanned.find(force=True).deleted == names(removed)


def test_a_root_that_was_a_mount_point_and_is_none_is_refused(scanned: ScannedTree) -> None:
    """Even when there are files in the folder under it."""
    scanned.settle()
    mark_mounted(scanned, b"")
    scanned.write("something else")
    with pytest.raises(StateError, match="mounted here and is gone"):
        scanned.scan()
    assert scanned.find(force=True).changed == names("something else")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_mounts_are_told_from_directories(scanned: ScannedTree) -> None:
    """With a real one: its content is announced when it comes, and not deleted when it goes."""
    scanned.path("disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", scanned.path("disk")], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        scanned.write("disk/file")
        assert scanned.find().changed == names("disk", "disk/file")
    finally:
        subprocess.run(["umount", scanned.path("disk")], check=True)
    result = scanned.scan()
    assert (result.announced, len(result.problems)) == (None, 1)
