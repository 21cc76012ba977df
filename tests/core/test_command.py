"""The rsync command of every stage, written out in full."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.command import RunOptions, Selection, build_command
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.paths import TreePath
from pushmirror.core.source import Source
from tests.core.strategies import paths

ROOT = Source("rsync://127.0.0.1:8730/m/")
SUB = Source("rsync://127.0.0.1:8730/m/", b"linux/updates")
TREE = "/srv/mirror/x"
METADATA_DIR = "/srv/mirror/x/.~pushmirror~/metadata"
SELECTION = Selection(everything=("--exclude=e",), metadata=("--include=m",), payload=("--exclude=p",))
OPTIONS = RunOptions(
    temp_dir="/srv/mirror/x/.~pushmirror~/tmp",
    metadata_dir=METADATA_DIR,
    io_timeout_s=600,
    connect_timeout_s=30,
    selection=SELECTION,
)
PATHS = (TreePath(b"a"), TreePath(b"d/new\nline"))

COMMON = (
    "-lptH",
    "--safe-links",
    "--chmod=ug-s,Du+rx",
    "--no-motd",
    "--no-human-readable",
    "--stats",
    "--out-format=%i %n",
)
LISTED = ("--from0", "--files-from=-", "--modify-window=-1")
LIMITS = ("--timeout=600", "--contimeout=30")
ASIDE = "--temp-dir=/srv/mirror/x/.~pushmirror~/tmp"
NOT_OURS = "--exclude=/.~pushmirror~"
NOT_THEIRS = "--exclude=.~tmp~"
FROM_MODULE = ("--", "rsync://127.0.0.1:8730/m/", "/srv/mirror/x/")
FROM_TREE = ("--", "rsync://127.0.0.1:8730/m/linux/updates/", "/srv/mirror/x/")
SURPLUS = ("-n", "-r", "-i", "--delete", "--existing", "--ignore-existing", "--ignore-errors")
PLAN = ("-n", "-r", "-i", "--delete", "--ignore-errors")
ERASE = ("--delete-missing-args", "--force", "--existing", "--ignore-existing", "-i")
PUT = ("--ignore-missing-args", "-ii", "--info=name2")
TELL = ("--info=progress2",)
LINK = ("--link-dest=/srv/mirror/x",)
TO_STAGING = (*FROM_MODULE[:-1], f"{METADATA_DIR}/")

# Each stage with a list of paths, and without one; the tree is in a folder of the module.
COMMANDS: dict[tuple[StageKind, bool], tuple[str, ...]] = {
    (StageKind.METADATA, True): (*COMMON, *LISTED, *PUT, *TELL, ASIDE, *LINK, *LIMITS, *TO_STAGING),
    (StageKind.PAYLOAD, True): (*COMMON, *LISTED, *PUT, *TELL, ASIDE, *LIMITS, *FROM_MODULE),
    (StageKind.DIRECTORIES, True): (
        *(*COMMON, *LISTED, *PUT, *TELL, "-r", ASIDE),
        *(NOT_THEIRS, "--exclude=p", *LIMITS, *FROM_MODULE),
    ),
    (StageKind.LISTING, True): (
        *(*COMMON, *LISTED, "-n", "-r", *PUT),
        *(NOT_THEIRS, "--include=m", *LIMITS, *FROM_MODULE),
    ),
    (StageKind.MARKER, True): (*COMMON, *LISTED, "--list-only", "--ignore-missing-args", *LIMITS, *FROM_MODULE),
    (StageKind.SURPLUS, True): (*COMMON, *LISTED, *SURPLUS, NOT_THEIRS, "--exclude=e", *LIMITS, *FROM_MODULE),
    (StageKind.DELETE, True): (*COMMON, *LISTED, *ERASE, *LIMITS, *FROM_MODULE),
    (StageKind.PROBE, True): (*COMMON, *LISTED, "-n", *PUT, *LIMITS, *FROM_MODULE),
    (StageKind.LISTING, False): (
        *(*COMMON, "-n", "-r", *PUT),
        *(NOT_OURS, NOT_THEIRS, "--include=m", *LIMITS, *FROM_TREE),
    ),
    (StageKind.WHOLE, False): (
        *(*COMMON, "-r", "-i", *TELL, ASIDE),
        *(NOT_OURS, NOT_THEIRS, "--exclude=p", *LIMITS, *FROM_TREE),
    ),
    (StageKind.SURPLUS, False): (*COMMON, *SURPLUS, NOT_OURS, NOT_THEIRS, "--exclude=e", *LIMITS, *FROM_TREE),
    (StageKind.PLAN, False): (*COMMON, *PLAN, NOT_OURS, NOT_THEIRS, "--exclude=e", *LIMITS, *FROM_TREE),
}
LIST_STAGES = [kind for kind, listed in COMMANDS if listed]


@pytest.mark.parametrize(
    ("kind", "listed"), COMMANDS, ids=[f"{k.value}-{'list' if p else 'tree'}" for k, p in COMMANDS]
)
def test_command(kind: StageKind, listed: bool) -> None:
    """Each stage has exactly these arguments; its paths, if any, go to standard input."""
    command = build_command(Stage(kind, PATHS if listed else ()), SUB, TREE, OPTIONS)
    assert command.arguments == COMMANDS[kind, listed]
    assert command.listing == (b"linux/updates/./a\0linux/updates/./d/new\nline\0" if listed else b"")


def test_every_stage_is_in_the_table() -> None:
    """The table leaves no kind of stage out."""
    assert {kind for kind, _ in COMMANDS} == set(StageKind)


@pytest.mark.parametrize("kind", LIST_STAGES)
def test_source_is_a_module_root(kind: StageKind) -> None:
    """Of a tree that is a whole module, the entries are its paths."""
    command = build_command(Stage(kind, PATHS), ROOT, TREE, OPTIONS)
    assert command.listing == b"a\0d/new\nline\0"
    assert command.arguments[-2] == "rsync://127.0.0.1:8730/m/"


@pytest.mark.parametrize(("kind", "listed"), COMMANDS)
def test_settings_of_a_tree(kind: StageKind, listed: bool) -> None:
    """Bandwidth and password file stand before the mark that ends the options."""
    options = replace(OPTIONS, bandwidth_kib_per_s=25_000, password_file="/etc/pushmirror/rsync.secret")
    arguments = build_command(Stage(kind, PATHS if listed else ()), SUB, TREE, options).arguments
    plain = COMMANDS[kind, listed]
    assert arguments == (*plain[:-3], "--bwlimit=25000", "--password-file=/etc/pushmirror/rsync.secret", *plain[-3:])


@pytest.mark.parametrize(("kind", "listed"), COMMANDS)
def test_exact_times(kind: StageKind, listed: bool) -> None:
    """Runs over the whole tree compare nanoseconds only where the settings say so; list runs always do."""
    stage = Stage(kind, PATHS if listed else ())
    counts = [
        build_command(stage, SUB, TREE, replace(OPTIONS, exact_times=exact)).arguments.count("--modify-window=-1")
        for exact in (False, True)
    ]
    assert counts == [int(listed), 1]


@pytest.mark.parametrize(("kind", "listed"), COMMANDS)
def test_what_deletes(kind: StageKind, listed: bool) -> None:
    """Only the delete stage deletes: every other run with a deleting option is a dry run."""
    arguments = build_command(Stage(kind, PATHS if listed else ()), SUB, TREE, OPTIONS).arguments
    deleting = [argument for argument in arguments if argument.startswith(("--del", "--force", "--max-delete"))]
    assert not deleting or kind is StageKind.DELETE or "-n" in arguments
    assert "--ignore-errors" not in arguments or "-n" in arguments


def test_no_more_is_deleted_than_was_counted() -> None:
    """Where it is known how many entries that are, and in the delete stage alone; nothing else is another."""
    stage = Stage(StageKind.DELETE, PATHS, most_deletions=0)
    arguments = build_command(stage, SUB, TREE, OPTIONS).arguments
    assert [argument for argument in arguments if argument.startswith("--max-delete")] == ["--max-delete=0"]
    assert tuple(argument for argument in arguments if argument != "--max-delete=0") == COMMANDS[StageKind.DELETE, True]


awkward_listings = st.lists(paths, min_size=1, max_size=6).map(tuple)


@given(awkward_listings, st.sampled_from(LIST_STAGES), st.sampled_from([ROOT, SUB]))
def test_paths_never_reach_the_arguments(listed: tuple[TreePath, ...], kind: StageKind, source: Source) -> None:
    """The arguments are the same whatever the paths are, and the list gives back exactly the paths."""
    command = build_command(Stage(kind, listed), source, TREE, OPTIONS)
    assert command.arguments == build_command(Stage(kind, PATHS), source, TREE, OPTIONS).arguments
    mark = source.below + b"/./" if source.below else b""
    entries = command.listing.split(b"\0")
    assert entries.pop() == b""
    assert tuple(entry.removeprefix(mark) for entry in entries) == listed
    assert all(entry.startswith(mark) for entry in entries)


def test_long_list() -> None:
    """A list of any length leaves the arguments as they are."""
    many = tuple(TreePath(f"pool/{number}".encode()) for number in range(100_000))
    command = build_command(Stage(StageKind.PAYLOAD, many), SUB, TREE, OPTIONS)
    assert len(command.arguments) == len(COMMANDS[StageKind.PAYLOAD, True])
    assert command.listing.count(b"\0") == 100_000
