"""From the log of a real rsync to a change list: exactly what changed on the disk, in every form that rsync writes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from pushmirror.core.itemise import LOG_FORMAT, Placement, read_log
from pushmirror.core.lists import MAX_LIST_PATHS
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, topmost
from pushmirror.errors import UsageError
from pushmirror.publisher.detect.from_rsync import Detection, LogPart, detect
from tests.support.compare import Item, items
from tests.support.processes import clean_environment
from tests.support.trees import ODD_NAMES, change_tree, make_tree, set_time, write

pytestmark = pytest.mark.slow

ARCHIVE = ("-aH", "--delete", "--modify-window=-1")


class Place:
    """An upstream folder, the tree that is brought from it, and what the last rsync wrote down."""

    def __init__(self, folder: Path) -> None:
        self.upstream = folder / "upstream"
        self.root = folder / "tree"
        self.log = folder / "log"
        for path in (self.upstream, self.root):
            path.mkdir()

    def bring(self, *options: str, locale: str = "C") -> bytes:
        """Run rsync and return its standard output."""
        self.log.unlink(missing_ok=True)
        done = subprocess.run(
            ["rsync", *options, f"{self.upstream}/", f"{self.root}/"],
            env={**clean_environment(), "LC_ALL": locale},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        return done.stdout

    def state(self) -> dict[bytes, Item]:
        return dict(items(self.root))

    def detect(self, log: bytes, *, separated: bool = False, force: bool = False) -> Detection:
        return detect(self.root, [LogPart(read_log(log.splitlines(True), separated=separated))], force=force)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def paths(names: Iterable[bytes]) -> tuple[TreePath, ...]:
    return tuple(TreePath(name) for name in sorted(names))


def expected(before: dict[bytes, Item], after: dict[bytes, Item]) -> ChangeList:
    """Return what a walk of the tree before and after says, the root left out."""
    changed = paths(name for name, item in after.items() if name != b"." and before.get(name) != item)
    return ChangeList(changed, topmost(paths(before.keys() - after.keys())))


def as_list(detection: Detection) -> ChangeList:
    assert detection.changes is not None
    return ChangeList(detection.changes.changed, detection.changes.deleted)


@pytest.mark.parametrize(
    ("options", "from_file", "separated"),
    [
        (("-i",), False, False),
        (("-iv", "--progress", "--stats"), False, False),
        (("--out-format=%i %n",), False, False),
        (("-ii",), False, False),
        (("-i", "--log-file={log}"), True, False),
        (("-i", "-q", "--log-file={log}", f"--log-file-format={LOG_FORMAT}"), True, True),
    ],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_days_work_is_found_exactly(
    place: Place, options: tuple[str, ...], from_file: bool, separated: bool, locale: str
) -> None:
    """A changed tree with odd names everywhere: the list is what a walk before and after finds, whatever the format."""
    upstream = make_tree(place.upstream, 300)
    place.bring(*ARCHIVE)
    before = place.state()
    change_tree(upstream, changed=15, added=4, deleted=6)
    for name in ODD_NAMES[::2]:
        write(place.upstream, b"odd names/" + name, b"changed")
    os.chmod(os.path.join(os.fsencode(place.upstream), ODD_NAMES[1]), 0o711)
    set_time(place.upstream, b"empty directory", 10**18)
    output = place.bring(*ARCHIVE, *(option.format(log=place.log) for option in options), locale=locale)
    found = place.detect(place.log.read_bytes() if from_file else output, separated=separated)
    assert as_list(found) == expected(before, place.state())


def test_a_first_sync_lists_everything(place: Place) -> None:
    """All of a new tree is put: files, directories, symlinks and the names of hardlinks."""
    make_tree(place.upstream, 150)
    output = place.bring(*ARCHIVE, "-i")
    assert as_list(place.detect(output)) == expected({}, place.state())


def test_the_same_again_lists_nothing(place: Place) -> None:
    """A run that changes nothing gives an empty list, also where rsync mentions every unchanged entry."""
    make_tree(place.upstream, 120)
    place.bring(*ARCHIVE)
    assert place.detect(place.bring(*ARCHIVE, "-iiv")).changes == ChangeList()


FORMS = [
    ("new", b">f+++++++++ new"),
    ("content", b">f.s"),
    ("mode", b".f...p"),
    ("time", b".f..t"),
    ("directory time", b".d..t"),
    ("directory mode", b".d...p"),
    ("new directory", b"cd+++++++++ new directory/"),
    ("new link", b"cL+++++++++ new link -> content"),
    ("link", b"cLc"),
    ("link time", b".L..t"),
    ("hardlink", b"hf+++++++++ hardlink => content"),
]
OPTIONS = {"time": ("--checksum",)}  # by time alone rsync would bring the content again
DIRECTORY_TIMES = {"directory time"}


def prepare(folder: Path) -> None:
    for name in ("content", "mode", "time"):
        write(folder, name.encode(), b"before", mtime_ns=10**18)
    for name in ("directory time", "directory mode"):
        (folder / name).mkdir()
        set_time(folder, name.encode(), 10**18)
    for name in ("link", "link time"):
        (folder / name).symlink_to("content")
        os.utime(folder / name, ns=(10**18, 10**18), follow_symlinks=False)
    set_time(folder, b".", 10**18)


def change(folder: Path, what: str) -> None:
    if what == "new":
        write(folder, b"new", b"x")
    elif what == "content":
        write(folder, b"content", b"changed")
    elif what in {"mode", "directory mode"}:
        (folder / what).chmod(0o700)
    elif what in {"time", "directory time"}:
        set_time(folder, what.encode(), 11 * 10**17)
    elif what == "link time":
        os.utime(folder / what, ns=(11 * 10**17, 11 * 10**17), follow_symlinks=False)
    elif what == "new directory":
        (folder / what).mkdir()
    elif what == "hardlink":
        os.link(folder / "content", folder / "hardlink")
    else:
        (folder / what).unlink(missing_ok=True)
        (folder / what).symlink_to("content" if what == "new link" else "mode")


@pytest.mark.parametrize(("name", "form"), FORMS, ids=[name for name, _ in FORMS])
def test_each_form_is_a_put(place: Place, name: str, form: bytes) -> None:
    """rsync writes the form that is meant here, and it gives that one path."""
    prepare(place.upstream)
    place.bring(*ARCHIVE)
    change(place.upstream, name)
    options = (*OPTIONS.get(name, ()), *(() if name in DIRECTORY_TIMES else ("--omit-dir-times",)))
    output = place.bring(*ARCHIVE, "-i", *options)
    assert any(line.startswith(form) for line in output.splitlines()), output
    assert as_list(place.detect(output)) == ChangeList(paths([name.encode()]))


def test_deletions_are_reduced_to_the_topmost(place: Place) -> None:
    """rsync lists all that goes with a directory; the directory alone stands for it."""
    for name in (b"old/deep/file", b"old/other", b"single", b"kept/file"):
        write(place.root, name, b"x")
    os.symlink("nowhere", place.root / "old" / "link")
    write(place.upstream, b"kept/file", b"x")
    output = place.bring("-a", "--delete", "-i")
    assert output.count(b"*deleting") == 6
    assert place.detect(output).changes is not None
    assert as_list(place.detect(output)).deleted == (b"old", b"single")


def test_what_was_deleted_and_came_back_is_a_put(place: Place) -> None:
    """Only what is there at the end counts, in whatever order a log tells of it."""
    write(place.root, b"back/again", b"x")
    log = b"*deleting   back/again\n*deleting   back/\ncd+++++++++ back/\n>f+++++++++ back/again\n"
    assert place.detect(log).changes == ChangeList(paths([b"back", b"back/again"]))
    assert place.detect(b"*deleting   back/again\n").changes == ChangeList(paths([b"back/again"]))


def test_what_was_brought_and_is_gone_is_a_deletion(place: Place) -> None:
    """A put that is missing is announced as what it is; with its directory gone that one stands for it."""
    write(place.root, b"here", b"x")
    log = b">f+++++++++ here\n>f+++++++++ gone\n>f+++++++++ no/such/folder/file\n"
    assert place.detect(log).changes == ChangeList(paths([b"here"]), paths([b"gone", b"no"]))


@pytest.mark.parametrize("to_directory", [True, False])
def test_a_file_and_a_directory_in_each_others_place(place: Place, to_directory: bool) -> None:
    """The new thing is put; what was in a directory that is now a file needs no deletion of its own."""
    old, new = (place.root, place.upstream) if not to_directory else (place.upstream, place.root)
    write(old, b"name/inside/file", b"x")
    write(new, b"name", b"x")
    found = as_list(place.detect(place.bring("-a", "--delete", "-i")))
    if to_directory:
        assert found == ChangeList(paths([b"name", b"name/inside", b"name/inside/file"]))
    else:
        assert found == ChangeList(paths([b"name"]))


def test_what_is_a_directory_is_told_unless_something_is_put_below(place: Place) -> None:
    """By what is there now; a link to a directory is none."""
    write(place.root, b"full/file", b"x")
    write(place.root, b"emptied/file", b"x")
    os.symlink(b"full", place.root / "link")
    log = b".d..t...... full/\n>f+++++++++ full/file\n.d..t...... emptied/\n*deleting   emptied/gone\n"
    found = place.detect(log + b"cL+++++++++ link\n").changes
    assert found is not None and found.bare == paths([b"emptied"])


def test_a_directory_that_was_a_file_in_between_is_compared_as_a_whole(place: Place) -> None:
    """Two logs, or one that goes on: what was in the directory before the file is in neither of them."""
    write(place.root, b"name/new", b"x")
    found = place.detect(b">f+++++++++ name\ncd+++++++++ name/\n>f+++++++++ name/new\n").changes
    assert found == ChangeList(paths([b"name", b"name/new"]), directories=paths([b"name"]))
    assert place.detect(b"cd+++++++++ name/\n>f+++++++++ name/new\n").changes == ChangeList(
        paths([b"name", b"name/new"])
    )


ARROWS = {
    b"plain": b"target",
    b"a -> b": b"c",
    b"a": b"b -> c",
    b"x => y": b"z -> w",
}


@pytest.mark.parametrize("options", [("-i",), ("--out-format=%i %n",)])
def test_arrows_in_names_are_told_apart_by_the_disk(place: Place, options: tuple[str, ...]) -> None:
    """A symlink's name ends where its target begins, whichever arrow that is, and where a log has no targets."""
    for name, target in ARROWS.items():
        os.symlink(target, os.path.join(os.fsencode(place.upstream), name))
        write(place.upstream, b"files/" + name, b"x")
    output = place.bring("-aH", *options)
    files = {b"files/" + name for name in ARROWS}
    assert as_list(place.detect(output)).changed == paths({*ARROWS, *files, b"files"})


def test_a_link_that_is_gone_is_deleted_in_every_reading(place: Place) -> None:
    """Where the disk decides nothing, each name that might be meant is not there, which is true."""
    write(place.root, b"here", b"x")
    found = place.detect(b"cL+++++++++ a -> b -> c\n>f+++++++++ here\n").changes
    assert found == ChangeList(paths([b"here"]), paths([b"a", b"a -> b", b"a -> b -> c"]))


def test_a_new_name_of_a_settled_inode_is_paired_with_the_name_it_was_linked_to(place: Place) -> None:
    """The log says which name was there before; a mirror needs it in its run."""
    for name in (b"settled => one", b"unrelated"):
        write(place.upstream, name, name)
    place.bring(*ARCHIVE)
    os.link(place.upstream / "settled => one", place.upstream / "new => one")
    output = place.bring(*ARCHIVE, "-i")
    found = place.detect(output).changes
    assert found is not None
    assert found.linked == ((b"new => one", b"settled => one"),)
    assert found.changed == (b"new => one",)


def test_a_file_that_was_changed_in_place_is_put_under_all_its_names(place: Place) -> None:
    """rsync itemises one of them; another file and a name that rsync itself uses are left alone."""
    for root in (place.upstream, place.root):
        write(root, b"one", b"x", mode=0o644)
        os.makedirs(root / "deep" / "er")
        os.link(root / "one", root / "deep" / "er" / "two")
        write(root, b"deep/other", b"y")
    os.link(place.root / "one", place.root / "deep" / "partial")
    os.chmod(place.upstream / "one", 0o600)
    output = place.bring("-aH", "--exclude=partial", "-i")
    assert output.splitlines() == [b".f...p..... one"]
    part = LogPart(read_log(output.splitlines(True)), is_scratch=lambda path: path == b"deep/partial")
    assert detect(place.root, [part], force=False).changes == ChangeList(paths([b"one", b"deep/er/two"]))


def test_names_that_are_all_new_need_no_pair(place: Place) -> None:
    """All names of an inode are in the list: rsync links them in one run."""
    write(place.upstream, b"one", b"x")
    os.link(place.upstream / "one", place.upstream / "two")
    found = place.detect(place.bring("-aH", "-i"))
    assert found.changes == ChangeList(paths([b"one", b"two"]))
    assert found.bytes == 1


def test_names_lie_below_or_above_the_tree(place: Place) -> None:
    """A log of a folder in the tree, and one of a folder that holds it, give paths of the tree."""
    write(place.root, b"sub/file", b"x")
    for placement, log in [
        (Placement(below=b"sub"), b".d..t...... ./\n>f+++++++++ file\n"),
        (Placement(above=b"srv/t"), b".d..t...... srv/t/sub/\n>f+++++++++ srv/t/sub/file\n>f+++++++++ srv/x\n"),
    ]:
        found = detect(place.root, [LogPart(read_log(log.splitlines(True)), placement)], force=False)
        assert found.changes == ChangeList(paths([b"sub", b"sub/file"]))


def test_what_lies_behind_a_symlink_is_told_and_not_announced(place: Place) -> None:
    """A mirror cannot be told of paths behind a link; the link itself is true."""
    (place.root / "link").symlink_to("/tmp")
    found = place.detect(b">f+++++++++ link/file\n")
    assert found.changes == ChangeList(paths([b"link"]))
    assert "behind symlinks" in found.notes[0]


def test_special_files_are_told_and_not_announced(place: Place) -> None:
    """Pipes are not mirrored."""
    os.mkfifo(place.root / "pipe")
    found = place.detect(b"cS+++++++++ pipe\n")
    assert not found.changes and "pipes" in found.notes[0]


def test_rsyncs_own_folders_are_left_out(place: Place) -> None:
    """What --delay-updates holds back, our own staging and scratch folders are never announced."""
    for name in (b".~tmp~/a", b"pool/.~tmp~/b", b".~pushmirror~/c", b"scratch/d", b"e"):
        write(place.root, name, b"x")
    log = b"".join(
        b">f+++++++++ %b\n" % name for name in (b".~tmp~/a", b"pool/.~tmp~/b", b".~pushmirror~/c", b"scratch/d", b"e")
    )
    part = LogPart(read_log(log.splitlines(True)), is_scratch=lambda path: path.startswith(b"scratch"))
    assert detect(place.root, [part], force=False).changes == ChangeList(paths([b"e"]))


def test_a_log_of_another_destination_is_refused(place: Place) -> None:
    """When nothing of what was brought is there, the names are not those of this tree; --force overrides."""
    write(place.root, b"pool/a", b"x")
    with pytest.raises(UsageError, match="as seen from the root"):
        place.detect(b">f+++++++++ debian/pool/a\n")
    assert place.detect(b">f+++++++++ debian/pool/a\n", force=True).changes == ChangeList((), paths([b"debian"]))


def test_an_empty_tree_is_refused(place: Place) -> None:
    """A disk that is not mounted looks like a tree from which everything was deleted."""
    with pytest.raises(UsageError, match="mounted"):
        place.detect(b">f+++++++++ a\n")


def test_more_than_a_list_may_hold_is_the_whole_tree(place: Place) -> None:
    """Reading stops there, and the detection has no list."""
    write(place.root, b"a", b"x")
    lines = (b">f+++++++++ %d\n" % number for number in range(10 * MAX_LIST_PATHS))
    assert detect(place.root, [LogPart(read_log(lines))], force=False).changes is None
    assert next(lines) == b">f+++++++++ %d\n" % (MAX_LIST_PATHS + 1)
