"""Profiles: what is metadata, and the order in which it is switched."""

from __future__ import annotations

from itertools import permutations

import pytest

from pushmirror.core.filters import Rules
from pushmirror.core.paths import TreePath
from pushmirror.core.patterns import parse_pattern
from pushmirror.core.profiles import (
    PROFILES,
    make_profile,
    metadata_arguments,
    parse_metadata_pattern,
    payload_arguments,
    split,
    switch_order,
)

# For each format, in the order of switching: metadata with the number of its group, and then payload.
METADATA: dict[str, list[list[bytes]]] = {
    "plain": [],
    "rpm": [
        [
            b"fullfilelist", b"imagelist-fedora", b"state", b"linux/os/.treeinfo", b"os/treeinfo",
            b"os/repodata/0a1b-primary.xml.gz", b"os/repodata/filelists.xml.zck", b"os/repodata/prestodelta.xml.xz",
            b"os/repodata/repomd.xml.key", b"repodata/0a1b-comps.xml", b"os/repodata/odd/deeper",
        ],
        [b"os/repodata/repomd.xml", b"repodata/repomd.xml"],
        [b"os/repodata/repomd.xml.asc"],
        [b"fullfiletimelist-fedora"],
    ],
    "deb": [
        [
            b"dists/s/main/binary-amd64/Packages", b"dists/s/main/binary-amd64/Packages.xz", b"ls-lR.gz",
            b"dists/s/main/binary-amd64/by-hash/SHA256/0a1b", b"dists/s/main/source/Sources.gz",
            b"dists/s/main/Contents-amd64.gz", b"dists/s/main/i18n/Translation-en.bz2", b"Packages", b"Sources.xz",
            b"dists/s/main/binary-amd64/Packages.diff/2026-01-01.gz", b"dists/s/main/dep11/Components-amd64.yml.gz",
            b"debian/dists/s/ChangeLog", b"flat/Packages.gz", b"flat/by-hash/SHA256/0a1b", b"zzz-dists/s/main/x",
        ],
        [b"dists/s/main/binary-amd64/Packages.diff/Index"],
        [b"dists/s/Release", b"dists/s/main/binary-amd64/Release", b"flat/Release"],
        [b"dists/s/Release.gpg"],
        [b"debian/dists/s/InRelease", b"dists/s/InRelease"],
        [b"debian/project/trace/master", b"project/trace/mirror.example.org"],
    ],
    "arch": [
        [b"core/os/x86_64/core.files", b"core/os/x86_64/core.files.tar.gz", b"core/os/x86_64/core.files.tar.gz.old"],
        [b"core/os/x86_64/core.db.tar.gz", b"core/os/x86_64/core.db.tar.gz.old"],
        [b"core/os/x86_64/core.db", b"x.db"],
        [b"core/os/x86_64/core.db.sig"],
        [b"core/os/x86_64/core.db.tar.gz.old.sig", b"core/os/x86_64/core.db.tar.gz.sig"],
        [b"lastupdate"],
        [b"lastsync"],
    ],
    "apk": [
        [b"v3.22/releases/x86_64/latest-releases.yaml"],
        [b"edge/main/x86_64/APKINDEX.tar.gz", b"v3.22/main/x86_64/APKINDEX.tar.gz"],
        [b"last-updated"],
    ],
}  # fmt: skip
PAYLOAD: dict[str, list[bytes]] = {
    "plain": [b"a", b"repodata/repomd.xml", b"dists/s/InRelease"],
    "rpm": [b"os/Packages/a-1.rpm", b"os/images/pxeboot/vmlinuz", b"os/.treeinfo.d", b"repodata", b"os/drpms/a.drpm"],
    "deb": [b"pool/main/a/a_1_amd64.deb", b"pool/main/r/release/release_1.dsc", b"project/README", b"dists", b"doc/x"],
    "arch": [b"pool/a-1.db-1-any.pkg.tar.zst", b"core/os/x86_64/a-1-any.pkg.tar.zst.sig", b"iso/arch.iso"],
    "apk": [b"edge/main/x86_64/a-1.apk", b"v3.22/releases/x86_64/alpine.iso"],
}
REPOSITORIES: tuple[bytes, ...] = (
    b"os/Packages/a-1.rpm",
    *(path for groups in METADATA.values() for group in groups for path in group),
    *(path for paths in PAYLOAD.values() for path in paths if path not in (b"repodata", b"dists", b"a")),
)


def paths_of(*names: bytes) -> tuple[TreePath, ...]:
    """Return names as paths."""
    return tuple(map(TreePath, names))


def metadata_of(name: str) -> list[bytes]:
    """Return the metadata of a format, group after group."""
    return [path for group in METADATA[name] for path in sorted(group)]


def test_every_format_has_its_rows() -> None:
    """The tables of this test know the formats that there are."""
    assert set(PROFILES) == set(METADATA) == set(PAYLOAD) == {"plain", "rpm", "deb", "arch", "apk"}
    assert {name: profile.name for name, profile in PROFILES.items()} == {name: name for name in PROFILES}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_told_from_payload(name: str) -> None:
    """Files are told apart by their names, wherever in the tree a repository lies; the order given stays."""
    mixed = paths_of(*reversed(metadata_of(name)), *PAYLOAD[name])
    payload, metadata = split(mixed, PROFILES[name])
    assert payload == tuple(PAYLOAD[name])
    assert metadata == tuple(reversed(metadata_of(name)))


@pytest.mark.parametrize("name", METADATA)
def test_what_clients_read_first_is_switched_last(name: str) -> None:
    """Metadata is switched group by group, whatever order it came in."""
    for given in (metadata_of(name), metadata_of(name)[::-1]):
        assert switch_order(paths_of(*given), PROFILES[name]) == tuple(metadata_of(name))


def test_a_profile_of_ones_own() -> None:
    """What `last` matches is metadata too; of several, the later pattern counts."""
    profile = make_profile("own", ["index/**"], ["*.sum", "top.*"])
    assert split(paths_of(b"a", b"index/x", b"top.sum"), profile) == ((b"a",), (b"index/x", b"top.sum"))
    order = (b"index/z", b"a.sum", b"index/a.sum", b"top.sum")
    for given in permutations(order):
        assert switch_order(paths_of(*given), profile) == order


def test_a_parent_is_switched_before_what_lies_in_it() -> None:
    """A directory or link that is itself among the last keeps what is listed below it waiting."""
    profile = make_profile("own", ["**"], ["last"])
    assert switch_order(paths_of(b"last/a", b"b", b"last", b"c/d", b"c"), profile) == (
        b"b", b"c", b"c/d", b"last", b"last/a"
    )  # fmt: skip


def test_metadata_is_no_directory() -> None:
    """A pattern that is about directories alone is refused in a profile, with what to write instead."""
    with pytest.raises(ValueError, match=r"'index/' is about directories.* write 'index/\*\*'"):
        parse_metadata_pattern("index/")
    with pytest.raises(ValueError, match="is empty"):
        make_profile("own", [""])


def test_the_arguments_of_a_profile() -> None:
    """Directories are decided first; then metadata is picked, or left out, among what the rules do not hide."""
    profile = make_profile("own", ["index/**"], ["top"])
    hiding = Rules((), (parse_pattern("debug"),))
    sparing = Rules((parse_pattern("keep/"),), (parse_pattern("debug"),))
    assert metadata_arguments(profile, hiding) == (
        "--prune-empty-dirs", "--exclude=debug/", "--include=*/", "--exclude=debug",
        "--include=index/**", "--include=top", "--exclude=*",
    )  # fmt: skip
    assert metadata_arguments(profile, sparing) == (
        "--prune-empty-dirs", "--include=keep/", "--exclude=debug/", "--include=*/",
        "--include=index/**", "--include=top", "--exclude=*",
    )  # fmt: skip
    assert payload_arguments(profile, sparing) == (
        "--include=keep/", "--exclude=debug/", "--include=*/",
        "--exclude=index/**", "--exclude=top", "--include=keep/", "--exclude=debug",
    )  # fmt: skip
    assert payload_arguments(PROFILES["plain"], hiding) == ("--exclude=debug",)
    assert payload_arguments(PROFILES["plain"]) == ()
