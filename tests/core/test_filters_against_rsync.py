"""Filters and profiles beside the rsync that is installed: whatever a pattern is, both decide the same."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushmirror.core.filters import Rules, filter_changes, rsync_arguments
from pushmirror.core.model import ChangeList
from pushmirror.core.output import unescape
from pushmirror.core.paths import TreePath, ancestors, lies_below
from pushmirror.core.patterns import Pattern, parse_pattern
from pushmirror.core.profiles import (
    PROFILES,
    Profile,
    make_profile,
    metadata_arguments,
    payload_arguments,
    split,
)
from tests.core.test_patterns import MATCHES
from tests.core.test_profiles import REPOSITORIES
from tests.support.rsyncd import RsyncDaemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Each example costs an rsync run or two: 300 of the first kind, thousands under --full.
MANY = settings(max_examples=max(300, 2 * settings().max_examples))
SOME = settings(max_examples=max(80, settings().max_examples // 2))

Tree = dict[TreePath, bool]
"""Paths, and whether each is a directory."""

PARTS = (
    *(b"a", b"b", b"ab", b"ba", b"aab", b"c.a", b"a.b", b".a", b"-a", b"- a", b"+", b"!", b"!a", b"^", b"a b", b" "),
    *(b"*", b"**", b"a*", b"?", b"[", b"]", b"[a]", b"a]", b"\\", b"a\\", b"\\a", b"\\*", b"#a", b";"),
    *("é".encode(), b"\xe9", b"\xff", b"new\nline", b"~", b"...", b"a...", b"A"),
)
PIECES = (
    *("a", "b", "ab", "c", ".", "-", "!", "^", "]", " ", "#", "~", "A", "é", "\\", "\\a", "\\\\", "\\*", "\\?", "\\["),
    *("*", "*", "*", "**", "**", "***", "?", "??"),
    *("[ab]", "[!a]", "[^b]", "[a-c]", "[!a-b]", "[]a]", "[!]a]", "[^]]", "[a-]", "[-a]", "[a\\-c]", "[\\]a]"),
    *("[\\a-b]", "[[]", "[a-a]", "[a-b-c]", "[+--]", "[ -~]", "[!!]", "[^^]", "[*]", "[**]", "[?]", "[!-~]", "[\\\\]"),
    *("[--b]", "[]-a]"),
)  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Return a small tree; whatever something lies in is a directory."""
    parts = st.sampled_from(PARTS[:4]) | st.sampled_from(PARTS)
    found = draw(st.sets(st.lists(parts, min_size=1, max_size=4).map(lambda p: TreePath(b"/".join(p))), max_size=12))
    directories = {above for path in found for above in ancestors(path)}
    alone = draw(st.sets(st.sampled_from(sorted(found)))) if found else set()
    return {path: path in directories | alone for path in sorted(found | directories)}


def is_taken(text: str) -> bool:
    """Whether a text is a pattern."""
    try:
        parse_pattern(text)
    except ValueError:
        return False
    return True


pattern_parts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
pattern_texts = st.builds(
    lambda start, parts, end: start + "/".join(parts) + end,
    st.sampled_from(("", "", "", "/", "**/", "*/", "/**/")),
    st.lists(pattern_parts, min_size=1, max_size=3),
    st.sampled_from(("", "", "", "/", "/*", "/**", "/***", "/***/", "***")),
).filter(is_taken)


@st.composite
def patterns(draw: st.DrawFn, tree: Tree) -> Pattern:
    """Return a pattern: any, or one that comes close to a path of the tree."""
    texts = [text for path in tree if is_taken(text := path.decode("utf-8", "replace"))]
    if not texts or draw(st.booleans()):
        return parse_pattern(draw(pattern_texts))
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(text)))
        piece = draw(st.sampled_from(("*", "**", "?", "[!b]", "*/", "**/", "")))
        text = text[:position] + piece + text[position + draw(st.integers(0, 2)) :]
    text = draw(st.sampled_from(("", "/"))) + text + draw(st.sampled_from(("", "", "/", "/***")))
    return parse_pattern(text if is_taken(text) else draw(pattern_texts))


@st.composite
def rules_for(draw: st.DrawFn, tree: Tree, *, includes: bool = True) -> Rules:
    """Return rules for a tree."""
    include = draw(st.lists(patterns(tree), max_size=3)) if includes else []
    return Rules(tuple(include), tuple(draw(st.lists(patterns(tree), min_size=1, max_size=4))))


def make(folder: str, tree: Tree) -> None:
    """Make a tree of empty files."""
    for path, is_directory in tree.items():
        place = os.path.join(os.fsencode(folder), path)
        os.makedirs(place if is_directory else os.path.dirname(place), exist_ok=True)
        if not is_directory:
            with open(place, "wb"):
                pass


def ask_rsync(source: str, target: str, *arguments: str, listing: bytes | None = None) -> Tree:
    """Return what a recursive rsync run with these arguments would bring."""
    listed = () if listing is None else ("--from0", "--files-from=-")
    done = subprocess.run(
        ["rsync", "-rln", "--out-format=%n", *listed, *arguments, "--", source, f"{target}/"],
        input=listing,
        stdin=subprocess.DEVNULL if listing is None else None,
        capture_output=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    names = [unescape(line) for line in done.stdout.splitlines()]
    return {TreePath(name.removesuffix(b"/")): name.endswith(b"/") for name in names if name != b"./"}


def brought_from(tree: Tree, base: Path, *runs: tuple[str, ...]) -> list[Tree]:
    """Return what each run with the arguments `runs` would bring of `tree`."""
    with tempfile.TemporaryDirectory(dir=base) as folder:
        for name in ("source", "target"):
            os.mkdir(os.path.join(folder, name))
        make(f"{folder}/source", tree)
        return run_all(f"{folder}/source/", f"{folder}/target", *runs)


def run_all(source: str, target: str, *runs: tuple[str, ...]) -> list[Tree]:
    """Return what each run with the arguments `runs` would bring from `source`."""
    return [ask_rsync(source, target, *arguments) for arguments in runs]


def visible(tree: Tree, rules: Rules) -> Tree:
    """Return what of a tree the rules do not hide."""
    return {path: is_directory for path, is_directory in tree.items() if not rules.hides(path, is_directory)}


def files(tree: Iterable[TreePath], kinds: Tree) -> set[TreePath]:
    """Return those that are not directories."""
    return {path for path in tree if not kinds[path]}


def with_parents(paths: Iterable[TreePath]) -> Tree:
    """Return a tree of files, and of the directories that they lie in."""
    found = set(paths)
    return dict.fromkeys(found, False) | {above: True for path in found for above in ancestors(path)}


REPOSITORY = with_parents(map(TreePath, REPOSITORIES))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the trees of all examples."""
    return tmp_path_factory.mktemp("trees")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with repositories of all formats."""
    folder = tmp_path_factory.mktemp("repositories")
    make(str(folder), REPOSITORY)
    return folder


@pytest.mark.parametrize(("text", "matching", "others"), MATCHES, ids=[row[0] for row in MATCHES])
def test_the_table_of_patterns_is_rsyncs(base: Path, text: str, matching: list[str], others: list[str]) -> None:
    """What the table says of a pattern is what rsync makes of it."""
    rules = Rules((), (parse_pattern(text),))
    for tree in in_trees([*matching, *others]):
        assert brought_from(tree, base, rsync_arguments(rules)) == [visible(tree, rules)]


def in_trees(texts: list[str]) -> list[Tree]:
    """Return trees that hold these paths, a slash at the end meaning a directory: none is two things in one tree."""
    made: list[Tree] = []
    for text in texts:
        path = TreePath(text.removesuffix("/").encode())
        wanted = {path: text.endswith("/")} | dict.fromkeys(ancestors(path), True)
        room = next((tree for tree in made if all(tree.get(p, kind) == kind for p, kind in wanted.items())), None)
        if room is None:
            made.append(wanted)
        else:
            room.update(wanted)
    return made


@MANY
@given(data=st.data())
def test_rules_hide_what_rsync_leaves_out(base: Path, data: st.DataObject) -> None:
    """What a recursive rsync run with the rules brings is what they do not hide, by path and by change list."""
    tree = data.draw(trees())
    rules = data.draw(rules_for(tree))
    (brought,) = brought_from(tree, base, rsync_arguments(rules))
    assert visible(tree, rules) == brought
    folders = tuple(path for path in tree if tree[path])
    filtered = filter_changes(ChangeList(changed=tuple(tree), bare=folders), rules, lambda path: False)
    assert filtered.changed == tuple(sorted(brought))
    assert set(filtered.bare) <= set(folders)


@SOME
@given(data=st.data())
def test_the_runs_of_a_profile_share_the_tree(base: Path, data: st.DataObject) -> None:
    """One run brings the metadata, the other the rest with all directories: nothing is missing, no file comes twice."""
    tree = data.draw(trees())
    rules = data.draw(rules_for(tree, includes=False)) if data.draw(st.booleans()) else Rules()
    texts = [p.text for p in data.draw(st.lists(patterns(tree), max_size=4)) if not p.directories_only]
    profile = make_profile("own", texts[:2], texts[2:])
    runs = metadata_arguments(profile, rules), payload_arguments(profile, rules)
    check_runs(tree, profile, rules, brought_from(tree, base, *runs))


@SOME
@given(data=st.data())
def test_the_runs_of_each_format_share_a_repository(base: Path, repositories: Path, data: st.DataObject) -> None:
    """So do those of the formats that are built in, on paths that their repositories have."""
    rules = data.draw(rules_for(REPOSITORY, includes=False)) if data.draw(st.booleans()) else Rules()
    profile = PROFILES[data.draw(st.sampled_from(sorted(PROFILES)))]
    runs = metadata_arguments(profile, rules), payload_arguments(profile, rules)
    check_runs(REPOSITORY, profile, rules, run_all(f"{repositories}/", str(base), *runs))


def check_runs(tree: Tree, profile: Profile, rules: Rules, brought: list[Tree]) -> None:
    """Compare what the two runs bring with what `split` makes of what the rules do not hide."""
    metadata, payload = brought
    seen = visible(tree, rules)
    assert metadata | payload == seen
    expected_payload, expected_metadata = (files(part, tree) for part in split(seen, profile))
    assert files(payload, tree) == expected_payload
    assert files(metadata, tree) == expected_metadata
    needed = {above for path in expected_metadata for above in ancestors(path)}
    assert {path for path in metadata if tree[path]} == needed


@SOME
@given(data=st.data())
def test_the_runs_of_a_profile_with_includes(base: Path, data: st.DataObject) -> None:
    """With includes the run for metadata brings what lies in no hidden directory; the other is exact."""
    tree = data.draw(trees())
    rules = data.draw(rules_for(tree))
    texts = [p.text for p in data.draw(st.lists(patterns(tree), max_size=4)) if not p.directories_only]
    profile = make_profile("own", texts[:2], texts[2:])
    metadata, payload = brought_from(tree, base, metadata_arguments(profile, rules), payload_arguments(profile, rules))
    seen = visible(tree, rules)
    assert set(payload) == {path for path in seen if tree[path] or not profile.is_metadata(path)}
    hidden = {path for path in tree if tree[path] and path not in seen}
    reachable = {path for path in tree if not lies_below(path, hidden)}
    found = files(metadata, tree)
    assert {path for path in found if path in seen} == {p for p in files(seen, tree) if profile.is_metadata(p)}
    assert found <= {path for path in files(reachable, tree) if profile.is_metadata(path)}


@pytest.mark.parametrize("use_chroot", [False, True])
def test_anchored_patterns_begin_at_the_root_of_the_tree(tmp_path: Path, use_chroot: bool) -> None:
    """For a tree in a folder of a module an anchored pattern begins at the tree, whatever lists the run is given."""
    tree = with_parents(map(TreePath, (b"x", b"d/x", b"d/e/x", b"d/sub/x", b"sub/x", b"d/y", b"d/d/x")))
    make(str(tmp_path / "module" / "sub"), tree)
    make(str(tmp_path / "module"), tree)
    listing = b"sub/./d\0"
    with RsyncDaemon(tmp_path / "daemon", {"m": tmp_path / "module"}, use_chroot=use_chroot) as daemon:
        for text in ("/x", "/d/x", "/sub/d/x", "/d/sub/", "d/x", "sub/", "/d/*/x", "/d/***", "/e/", "e/***", "/**/x"):
            rules = Rules((), (parse_pattern(text),))
            arguments = rsync_arguments(rules)
            whole = ask_rsync(daemon.url("m", "sub"), str(tmp_path), *arguments)
            assert whole == visible(tree, rules), text
            if not rules.hides(TreePath(b"d"), True):  # such a directory is not listed
                below = ask_rsync(daemon.url("m"), str(tmp_path), *arguments, listing=listing)
                expected = {p: kind for p, kind in whole.items() if p == b"d" or lies_below(p, {TreePath(b"d")})}
                assert below == expected, text
