"""Symbolic links: a hostile upstream plants one that leads out of the mirror, and sends or deletes through it.

Each attack is shown first with plain rsync, or with what it does not refuse by itself; then with ours.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pushmirror.core.command import RunOptions, build_command
from pushmirror.core.model import Stage, StageKind
from pushmirror.core.output import parse_items, parse_notes
from pushmirror.core.paths import TreePath
from pushmirror.core.source import parse_source
from tests.hostile import plays
from tests.hostile.daemon import Entry, FakeDaemon, directory, link, missing
from tests.support.processes import clean_environment
from tests.support.rsyncd import RsyncDaemon
from tests.support.world import World

pytestmark = pytest.mark.slow

FILLED = {"count": 10**6, "percent": 100, "limit": 100}


class Place:
    """A mirror in `tree`, and beside it what no upstream may touch or read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree, self.outside, self.stage = folder / "tree", folder / "outside", folder / "stage"
        self.upstream = folder / "upstream"
        for path in (self.tree, self.outside, self.stage / "tmp", self.stage / "metadata", self.upstream):
            path.mkdir(parents=True)
        (self.outside / "precious").write_text("precious")
        os.utime(self.outside / "precious", (1_700_000_000, 1_700_000_000))

    def rsync(self, kind: StageKind, url: str, *paths: bytes, more: tuple[str, ...] = ()) -> str:
        """Run a stage as it is, without our own look at its result; returns what it printed."""
        options = RunOptions(str(self.stage / "tmp"), str(self.stage / "metadata"), 5, 5)
        command = build_command(Stage(kind, tuple(map(TreePath, paths))), parse_source(url), str(self.tree), options)
        done = subprocess.run(
            ["rsync", *more, *command.arguments],
            input=command.listing,
            capture_output=True,
            env={**clean_environment(), "LC_ALL": "C"},
            timeout=30,
            check=False,
        )
        return (done.stdout + done.stderr).decode(errors="backslashreplace")

    def assert_untouched(self) -> None:
        """Fail when anything outside has changed."""
        assert [path.name for path in self.outside.iterdir()] == ["precious"]
        precious = self.outside / "precious"
        assert (precious.read_text(), precious.stat().st_nlink) == ("precious", 1)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A mirror without content; at the end nothing outside has changed."""
    found = Place(tmp_path)
    yield found
    found.assert_untouched()


def test_rsync_prints_what_the_other_side_says_as_its_own(place: Place) -> None:
    """So that a name in its output proves nothing: here one that leads out, in each line by which we act on a name."""
    lines = (b"cL+++++++++ ../outside/precious", b"*deleting   ../outside/precious")
    complaint = b"could not make way for new regular file: ../outside"
    with FakeDaemon(plays.forge(*lines, complained=complaint)) as daemon:
        printed = place.rsync(StageKind.PAYLOAD, daemon.url("m"), b"file").encode().splitlines()
    assert {*lines, complaint} <= set(printed)
    items, notes = parse_items(printed), parse_notes(printed, parse_source(daemon.url("m")))
    assert (items.present, items.links, items.deleted, notes.clashes) == (frozenset(), frozenset(), (), ())
    assert any("../outside" in error for error in notes.errors)


THROUGH: dict[str, tuple[StageKind, tuple[Entry, ...], tuple[bytes, ...]]] = {
    "a file": (StageKind.PAYLOAD, (Entry(b"d/evil", content=b"evil"),), (b"d/evil",)),
    "over a file": (StageKind.PAYLOAD, (Entry(b"d/precious", content=b"evil"),), (b"d/precious",)),
    "a file, its folder told as a link": (
        StageKind.PAYLOAD,
        (link(b"d", b"../outside"), Entry(b"d/evil", content=b"evil")),
        (b"d", b"d/evil"),
    ),
    "a file, its folder told as a link and as a folder": (
        StageKind.PAYLOAD,
        (link(b"d", b"../outside"), directory(b"d"), Entry(b"d/evil", content=b"evil")),
        (b"d", b"d/evil"),
    ),
    "a link": (StageKind.PAYLOAD, (link(b"d/evil", b"x"),), (b"d/evil",)),
    "a folder": (StageKind.DIRECTORIES, (directory(b"d/evil"), Entry(b"d/evil/x")), (b"d/evil",)),
    "a whole tree": (StageKind.WHOLE, (directory(b"."), Entry(b"d/evil", content=b"evil")), ()),
    "metadata": (StageKind.METADATA, (Entry(b"d/evil", content=b"evil"),), (b"d/evil",)),
    "a deletion": (StageKind.DELETE, (missing(b"d/precious"),), (b"d/precious",)),
    "a deletion, its folder told too": (
        StageKind.DELETE,
        (directory(b"d"), missing(b"d/precious")),
        (b"d/precious",),
    ),
}


@pytest.mark.parametrize("name", THROUGH)
def test_no_stage_writes_or_deletes_through_a_link_in_the_mirror(place: Place, name: str) -> None:
    """Whatever the upstream says that `d` is; the rest is told by the run itself."""
    kind, entries, listed = THROUGH[name]
    (place.tree / "d").symlink_to("../outside")
    with FakeDaemon(lambda session: plays.serve(session, *entries)) as daemon:
        place.rsync(kind, daemon.url("m"), *listed)


def test_the_option_that_would_follow_links_is_never_given(place: Place) -> None:
    """With ``--keep-dirlinks`` the upstream's file goes where the link leads, here inside the tree."""
    (place.tree / "elsewhere").mkdir()
    (place.tree / "d").symlink_to("elsewhere")
    entries = (directory(b"d"), Entry(b"d/file", content=b"new"))
    with FakeDaemon(lambda session: plays.serve(session, *entries)) as daemon:
        place.rsync(StageKind.PAYLOAD, daemon.url("m"), b"d/file", more=("--keep-dirlinks",))
        assert (place.tree / "elsewhere" / "file").exists()
        (place.tree / "elsewhere" / "file").unlink()
        place.rsync(StageKind.PAYLOAD, daemon.url("m"), b"d/file")
    assert (place.tree / "d" / "file").exists() and not (place.tree / "d").is_symlink()
    assert not (place.tree / "elsewhere" / "file").exists()


def plant(upstream: Path) -> None:
    """Make a link that is harmless three folders down, and give it other names higher up."""
    (upstream / "a" / "b" / "c").mkdir(parents=True)
    (upstream / "a" / "b" / "c" / "deep").symlink_to("../../../outside")
    for name in ("evil", "a/evil", "a/b/c/twin"):
        os.link(upstream / "a" / "b" / "c" / "deep", upstream / name, follow_symlinks=False)


PLANTED = (b"a/b/c/deep", b"a/b/c/twin", b"a/evil", b"evil")


def test_rsync_alone_makes_links_that_it_says_it_ignores(place: Place) -> None:
    """``--safe-links`` judges each name, and ``-H`` then links them all: one of them leads out of the tree."""
    plant(place.upstream)
    with RsyncDaemon(place.folder / "daemon", {"m": place.upstream}) as daemon:
        printed = place.rsync(StageKind.PAYLOAD, daemon.url("m"), *PLANTED)
    assert 'ignoring unsafe symlink "evil"' in printed
    if not os.path.lexists(place.tree / "evil"):
        pytest.skip("this rsync does not do it any more")
    assert (place.tree / "evil").resolve() != place.tree / "evil"


@pytest.mark.parametrize("full", [False, True])
def test_links_that_lead_out_are_taken_away_before_anything_else(tmp_path: Path, full: bool) -> None:
    """By a list job and by a full sync; the harmless names of the same link stay, and the job counts as done."""
    with World(tmp_path) as world:
        (world.tree / "file").write_text("content")
        if full:
            plant(world.tree)
        world.start_publisher()
        mirror = world.add_subscriber(delete_budget=FILLED)
        mirror.start()
        mirror.wait_exact(0)
        if not full:
            plant(world.tree)
            serial = world.publish("--path=a", *(f"--path={name.decode()}" for name in PLANTED))
            mirror.wait_exact(serial)
            assert "links that lead out of it" in mirror.program.log_text()
        links = {str(path.relative_to(mirror.mirror)) for path in mirror.mirror.rglob("*") if path.is_symlink()}
        assert links == {"a/b/c/deep", "a/b/c/twin"}


def test_rsync_alone_links_what_is_outside_into_the_mirror(place: Place) -> None:
    """``--link-dest`` finds a file through a link in the mirror: if size and time are right, it needs no content."""
    (place.tree / "d").symlink_to("../outside")
    entries = (directory(b"d"), Entry(b"d/precious", content=b"x" * 8))
    with FakeDaemon(lambda session: plays.serve(session, *entries)) as daemon:
        place.rsync(StageKind.METADATA, daemon.url("m"), b"d/precious")
    staged = place.stage / "metadata" / "d" / "precious"
    leaked = staged.read_text() == "precious"
    staged.unlink()
    if not leaked:
        pytest.skip("this rsync does not do it any more")


def test_no_metadata_is_read_through_a_link(tmp_path: Path) -> None:
    """A link that leads out, left by whomever, is taken away before metadata is compared with what lies there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "Release").write_text("private")
    with World(tmp_path) as world:
        world.profile = "deb"
        (world.tree / "dists").mkdir()
        (world.tree / "dists" / "Release").write_text("Release")
        world.start_publisher()
        mirror = world.add_subscriber(profile="deb", delete_grace="0s")
        mirror.start()
        mirror.wait_exact(0)
        (world.tree / "dists" / "Release").write_text("RELEASE")
        os.utime(outside / "Release", ns=(10**18, 10**18))
        os.utime(world.tree / "dists" / "Release", ns=(10**18, 10**18))
        (mirror.mirror / "dists" / "Release").unlink()
        (mirror.mirror / "dists").rmdir()
        (mirror.mirror / "dists").symlink_to(outside)
        mirror.wait_exact(world.publish("--path=dists/Release"))
        assert (mirror.mirror / "dists" / "Release").read_text() == "RELEASE"
    assert ((outside / "Release").read_text(), (outside / "Release").stat().st_nlink) == ("private", 1)
