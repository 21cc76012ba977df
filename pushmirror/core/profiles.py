"""Profiles: which paths of a repository format are metadata, and in what order staged metadata is put in place.

Clients follow metadata to packages. So packages are brought before the metadata that names them is switched, and the
file that a client reads first is switched last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pushmirror.core.filters import (
    Rules,
    directory_arguments,
    exclude_arguments,
    include_arguments,
    rsync_arguments,
)
from pushmirror.core.model import ChangeList
from pushmirror.core.paths import TreePath, ancestors
from pushmirror.core.patterns import Pattern, matches_any, parse_pattern


@dataclass(frozen=True)
class Profile:
    """A repository format. What matches `last` is metadata as well, and is switched last, in the order of `last`.

    The patterns are about files and links, not about directories, and they are not anchored: a tree may hold several
    repositories.
    """

    name: str
    metadata: tuple[Pattern, ...] = ()
    last: tuple[Pattern, ...] = ()
    busy: tuple[Pattern, ...] = ()
    """Files whose presence says that the upstream is half-way through an update of its own; they are not mirrored."""

    def __bool__(self) -> bool:
        """Whether anything is metadata."""
        return bool(self.metadata or self.last)

    def is_metadata(self, path: bytes) -> bool:
        """Tell whether `path`, which is not a directory, is metadata."""
        return matches_any(self.metadata, path) or matches_any(self.last, path)

    def is_busy(self, path: bytes) -> bool:
        """Tell whether the presence of `path` says that an update is under way."""
        return matches_any(self.busy, path)

    def rank(self, path: bytes) -> int:
        """Return the place of `path` in the order of switching: 0 unless it matches one of `last`, then counted from 1;
        the later one of several counts."""
        ranks = (place for place, last in enumerate(self.last, start=1) if last.matches(path, is_directory=False))
        return max(ranks, default=0)


def parse_metadata_pattern(text: str) -> Pattern:
    """Return the pattern of an operator's own profile. Raises ValueError, which says what to write instead."""
    pattern = parse_pattern(text)
    if pattern.directories_only:
        raise ValueError(
            f"{text!r} is about directories, and metadata are files: write {text + '**'!r} for what they hold"
        )
    return pattern


def make_profile(name: str, metadata: Iterable[str], last: Iterable[str] = (), busy: Iterable[str] = ()) -> Profile:
    """Return a profile with these patterns. Raises ValueError, which says what to write instead."""
    return Profile(name, *(tuple(map(parse_metadata_pattern, texts)) for texts in (metadata, last, busy)))


PLAIN = make_profile("plain", ())

# createrepo_c(8), and what dnf and zypper read: repomd.xml first, then its signature, then the files that it names by
# their hashes. .treeinfo is what installers begin with; Fedora's lists and its `state` tell mirrors how far a tree is.
_RPM = make_profile(
    "rpm",
    metadata=("repodata/**", ".treeinfo", "treeinfo", "state", "fullfilelist", "imagelist-*"),
    last=("repodata/repomd.xml", "repodata/repomd.xml.asc", "fullfiletimelist-*"),
)

# Debian's rules for mirrors (www.debian.org/mirror/ftpmirror), which ask for two stages, and its program ftpsync.
# Everything in dists is an index or small beside the pool; the names by themselves are for flat repositories. apt reads
# InRelease, or Release and then its signature (apt-secure(8)); the indices of Packages.diff stand in Release by their
# hashes. The traces tell how far a mirror is; ftpsync leaves a file in the root while it updates an archive.
_DEB = make_profile(
    "deb",
    metadata=(
        *("dists/**", "zzz-dists/**", "by-hash/**", "Packages*", "Sources*", "Contents-*", "ls-lR*"),
        *("Packages.diff/**", "Sources.diff/**"),
    ),
    last=("*.diff/Index", "Release", "Release.gpg", "InRelease", "project/trace/**"),
    busy=("/Archive-Update-in-Progress-*",),
)

# repo-add(8): the databases, their signatures and the copies from before the last change. pacman reads core.db, a link
# to core.db.tar.gz, and then its signature. Arch judges mirrors by `lastupdate` and `lastsync`. The forms are closer
# than *.db*, which a package's version can hold.
_ARCH = make_profile(
    "arch",
    metadata=("*.files", "*.files.sig", "*.files.tar*"),
    last=("*.db.tar*", "*.db", "*.db.sig", "*.db.tar*.sig", "lastupdate", "lastsync"),
)

# apk-index(8), and Alpine's own file that tells how far a mirror is.
_APK = make_profile("apk", metadata=("latest-releases.yaml",), last=("APKINDEX.tar.gz", "last-updated"))

PROFILES: Mapping[str, Profile] = MappingProxyType({p.name: p for p in (PLAIN, _RPM, _DEB, _ARCH, _APK)})


def split(paths: Iterable[TreePath], profile: Profile) -> tuple[tuple[TreePath, ...], tuple[TreePath, ...]]:
    """Return the payload and the metadata among `paths`, each in the order given.

    A directory that is listed by itself goes where a file of its name would: it is made or given its attributes in
    either stage, and moves nothing that lies in it.
    """
    metadata: list[TreePath] = []
    payload: list[TreePath] = []
    for path in paths:
        (metadata if profile.is_metadata(path) else payload).append(path)
    return tuple(payload), tuple(metadata)


def without_busy(changes: ChangeList, profile: Profile) -> ChangeList:
    """Return `changes` without the files that say that the upstream was half-way: they are not mirrored."""
    if not any(profile.is_busy(path) for path in changes.changed):
        return changes
    return replace(changes, changed=tuple(path for path in changes.changed if not profile.is_busy(path)))


def switch_order(paths: Iterable[TreePath], profile: Profile) -> tuple[TreePath, ...]:
    """Return `paths` in the order in which they are put in place: those of `last` after everything else, and each after
    those of its parents that are among `paths`."""
    listed = set(paths)
    ranks = {path: profile.rank(path) for path in listed}

    def place(path: TreePath) -> tuple[int, TreePath]:
        return max([ranks[path], *(ranks[above] for above in ancestors(path) if above in listed)]), path

    return tuple(sorted(listed, key=place))


def metadata_arguments(profile: Profile, rules: Rules | None = None) -> tuple[str, ...]:
    """Return the arguments of a recursive rsync run that brings the metadata alone, with the directories it lies in.

    Files that say that the upstream is busy are listed too: the run is a dry one, or they are dropped.

    With both includes and excludes in `rules` it brings metadata that is hidden by its own name too, because rsync has
    no rule for "matches this and that": what `rules` hide is to be dropped from the staging folder before the switch.
    """
    rules = rules or Rules()
    hidden = () if rules.include else exclude_arguments(rules.exclude)
    wanted = include_arguments((*profile.metadata, *profile.last))
    told = include_arguments(profile.busy)
    return ("--prune-empty-dirs", *told, *directory_arguments(rules), *hidden, *wanted, "--exclude=*")


def payload_arguments(profile: Profile, rules: Rules | None = None) -> tuple[str, ...]:
    """Return the arguments of a recursive rsync run that brings everything but the metadata, and all directories."""
    rules = rules or Rules()
    if not profile:
        return rsync_arguments(rules)
    left_out = exclude_arguments((*profile.metadata, *profile.last, *profile.busy))
    return (*directory_arguments(rules), *left_out, *rsync_arguments(rules))
