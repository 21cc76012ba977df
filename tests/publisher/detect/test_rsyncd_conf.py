"""What an rsyncd.conf hides: read as the rsync daemon reads it, which is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pushmirror.core.rsyncd_conf import parse_configuration
from pushmirror.publisher.detect.excludes import Excludes, make_excludes
from pushmirror.publisher.detect.rsyncd_conf import compare_with_rsyncd
from tests.publisher.detect.scanned import ScannedTree, names
from tests.support.processes import clean_environment
from tests.support.rsyncd import RsyncDaemon

FILES = (
    "top.iso", "top.deb", "private/a.deb", "private/keep.deb", "pool/a.iso", "pool/a.deb", "pool/private/b.deb",
    "pool/deep/private/c.deb", "pool/deep/d.iso", "pool/deep/x y.deb",
)  # fmt: skip

PARAMETERS = [
    "exclude = *.iso",
    "exclude = /private",
    "exclude = private",
    "exclude = /private/ *.iso",
    "exclude = pool/private",
    "exclude = deep/private",
    "exclude = /pool/deep/*.iso",
    "exclude = /pool/**/c.deb",
    "include = keep.deb\n    exclude = /private/*",
    "include = /pool/ /pool/a.* \n    exclude = *",
    "EXCLUDE= *.iso \\\n   /private",
    "exclude =",
]


def write_conf(folder: Path, text: str) -> Path:
    path = folder / "rsyncd.conf"
    path.write_text(text)
    return path


def ask_rsync(url: str) -> set[str]:
    """Return all files that the daemon shows."""
    done = subprocess.run(
        ["rsync", "-r", "--list-only", "--out-format=%n", url],
        env={**clean_environment(), "LC_ALL": "C"},
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    lines = (line.split(maxsplit=4) for line in done.stdout.splitlines())
    return {name for rights, _, _, _, name in lines if rights.startswith("-")}


def visible(root: Path, excludes: Excludes) -> set[str]:
    """Return all files that a scan would find."""
    found: set[str] = set()
    for folder, directories, files in os.walk(root):
        place = os.path.relpath(folder, root)
        prefix = "" if place == "." else f"{place}/"
        directories[:] = [name for name in directories if not excludes.hides_directory(os.fsencode(prefix + name))]
        found |= {prefix + name for name in files if not excludes.hides_entry(os.fsencode(prefix + name))}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_a_scan_passes_over_what_the_daemon_hides(tmp_path: Path, parameters: str) -> None:
    """Of the whole module, and of a tree in a folder of it, exactly that which a client does not see."""
    module = tmp_path / "module"
    for name in FILES:
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).touch()
    with RsyncDaemon(tmp_path / "rsyncd", {"all": module}, extra=parameters) as daemon:
        conf = tmp_path / "rsyncd" / "rsyncd.conf"
        assert visible(module, make_excludes((), rsyncd_conf=conf, root=module)) == ask_rsync(daemon.url("all"))
        pool = make_excludes((), rsyncd_conf=conf, root=module / "pool")
        if ask_rsync(daemon.url("all")) & {"pool/a.deb", "pool/a.iso"}:
            assert visible(module / "pool", pool) == ask_rsync(daemon.url("all", "pool"))


def test_a_configuration_is_read_as_rsync_reads_it() -> None:
    """Spaces and capitals in names do not count, lines go on after a backslash, and globals are defaults."""
    configuration = parse_configuration(
        "# a comment\n exclude from = /etc/list\n;another\n&include /etc/rsyncd.d\n"
        "[ one ]\nPath=/srv/one\nexclude = a \\\nb\n[two]\npath = /srv/two\nExcludeFrom =\nnonsense\n"
    )
    one, two = configuration.modules
    assert (one.name, one.path, one.parameters["exclude"]) == ("one", "/srv/one", "a b")
    assert (one.parameters["excludefrom"], two.parameters["excludefrom"]) == ("/etc/list", "")
    assert configuration.others == ("&include /etc/rsyncd.d",)


def test_the_nearest_module_counts_unless_the_url_names_one(tmp_path: Path) -> None:
    """A tree may be read through several modules."""
    tree = tmp_path / "srv" / "tree"
    tree.mkdir(parents=True)
    conf = write_conf(
        tmp_path,
        f"[all]\npath = {tmp_path}/srv\nexclude = one\n[tree]\npath = {tree}\nexclude = two\n"
        f"[other]\npath = {tmp_path}/srv/tr\nexclude = three\n",
    )
    assert [pattern.text for pattern in compare_with_rsyncd(conf, tree, None).rules.exclude] == ["two"]
    view = compare_with_rsyncd(conf, tree, "rsync://mirror.example.org/all/tree/")
    assert ([pattern.text for pattern in view.rules.exclude], view.prefix) == (["one"], b"tree/")


def test_a_tree_that_is_reached_through_a_symlink_is_found(tmp_path: Path) -> None:
    """The operator and the daemon may write the same folder in different ways."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "srv").symlink_to("disk")
    conf = write_conf(tmp_path, f"[m]\npath = {tmp_path}/disk\nexclude = x\n")
    assert compare_with_rsyncd(conf, tmp_path / "srv", None).rules


def test_lists_in_files_are_read(tmp_path: Path) -> None:
    """One pattern a line, with comments; it comes after includes and before `exclude`."""
    (tmp_path / "list").write_text("# none of these\n*.iso\n\n/private\n")
    conf = write_conf(tmp_path, f"[m]\npath = {tmp_path}\nexclude from = {tmp_path}/list\nexclude = more\n")
    assert [pattern.text for pattern in compare_with_rsyncd(conf, tmp_path, None).rules.exclude] == [
        "*.iso", "/private", "more"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("exclude = *.iso", "hides *.iso"),
        ("exclude = /tree", "hides the whole tree"),
        ("filter = - *.iso", "filter"),
        ("exclude = - *.iso", "rule of another kind"),
        ("exclude = [[:alpha:]]", "detect: exclude"),
        ("exclude from = /nowhere/list", "/nowhere/list: cannot be read"),
        ("&include /etc/other", "&include /etc/other"),
    ],
)
def test_what_is_hidden_is_told_with_advice(tmp_path: Path, lines: str, told: str) -> None:
    """Also what cannot be read here: it would be announced and be missing."""
    (tmp_path / "tree").mkdir()
    conf = write_conf(tmp_path, f"[m]\npath = {tmp_path}\n{lines}\n")
    assert told in "\n".join(compare_with_rsyncd(conf, tmp_path / "tree", None).notes)


def test_a_daemon_that_hides_nothing_needs_no_note(tmp_path: Path) -> None:
    """Neither does one that does not serve the tree; a file that cannot be read is told."""
    conf = write_conf(tmp_path, f"[m]\npath = {tmp_path}\n[other]\npath = /other\nexclude = *\n")
    assert compare_with_rsyncd(conf, tmp_path, None).notes == ()
    assert compare_with_rsyncd(conf, Path("/srv"), None).notes == ()
    assert "cannot be read" in compare_with_rsyncd(tmp_path / "none", tmp_path, None).notes[0]


def test_a_scan_announces_nothing_that_the_daemon_hides(scanned: ScannedTree, tmp_path: Path) -> None:
    """Subscribers would wait for it in vain."""
    conf = write_conf(tmp_path, f"[m]\npath = {scanned.root}\nexclude = *.iso\n")
    scanned.excludes = make_excludes((), rsyncd_conf=conf, root=scanned.root)
    scanned.write("pool/a/seen.deb")
    scanned.write("pool/a/hidden.iso")
    assert scanned.find().changed == names("pool/a/seen.deb")
