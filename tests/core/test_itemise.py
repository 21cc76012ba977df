"""Reading itemised changes out of logs: every form of line, odd names, arrows in names, and where names lie."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given

from pushmirror.core.itemise import Itemised, Placement, Reading, read_log, trust_placed
from tests.core.strategies import paths
from tests.support.trees import ODD_NAMES


def read(*lines: bytes, separated: bool = False) -> list[Itemised]:
    return list(read_log((line + b"\n" for line in lines), separated=separated))


def put(*readings: Reading, directory: bool = False, linked: bool = False) -> Itemised:
    return Itemised(False, readings, directory, linked)


def escape(name: bytes) -> bytes:
    """Return a name as rsync prints it in the locale C."""
    return re.sub(rb"[^ -~]|\\(?=#[0-9]{3})", lambda match: b"\\#%03o" % ord(match[0]), name)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b">f+++++++++ pool/a.deb", b"pool/a.deb"),
        (b">f.st...... a", b"a"),
        (b">f..t...... a", b"a"),
        (b".f..t...... a", b"a"),
        (b".f...p..... a", b"a"),
        (b".f....og.ax a", b"a"),
        (b"<f+++++++++ a", b"a"),
        (b"cf+++++++++ a", b"a"),
        (b"cd+++++++++ pool/new/", b"pool/new"),
        (b".d..t...... pool/", b"pool"),
        (b".d..t...... ./", b"."),
        (b"cd+++++++++ /absolute/", b"/absolute"),
        (b"cS+++++++++ pipe", b"pipe"),
        (b"cf          copied from another folder", b"copied from another folder"),
        (b"cd          made beside it/", b"made beside it"),
        (b">f+++++++++  leading and trailing ", b" leading and trailing "),
    ],
)
def test_a_put_has_one_name(line: bytes, name: bytes) -> None:
    """What is new, updated or changed in attributes is a put of that name, whatever its type."""
    (item,) = read(line)
    assert item.readings[-1] == Reading(name)
    assert item.directory == line.endswith(b"/")
    assert not read(line)[0].deleted


@given(paths)
def test_every_name_comes_back(path: bytes) -> None:
    """A name that rsync has written into a log, put or deleted, is the one that is read."""
    for separated in (False, True):
        line = b">f+++++++++ " + escape(path) + (b"//" if separated else b"")
        assert read(line, b"*deleting   " + escape(path), separated=separated) == [
            put(Reading(path)),
            Itemised(True, (Reading(path),)),
        ]


@pytest.mark.parametrize(
    ("line", "name"),
    [(b"*deleting   pool/old/", b"pool/old"), (b"*deleting   a -> b", b"a -> b"), (b"*deleting    x", b" x")],
)
def test_a_deletion_has_one_name(line: bytes, name: bytes) -> None:
    """A deletion tells nothing but the name, which may hold arrows and begin with a space."""
    assert read(line) == [Itemised(True, (Reading(name),))]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"sending incremental file list",
        b"pool/a.deb",
        b"deleting pool/a.deb",
        b".f          unchanged",
        b".d          unchanged/",
        b"hf          linked already",
        b"        32,768 100%   31.25MB/s    0:00:00 (xfr#1, to-chk=0/3)",
        b"sent 123 bytes  received 45 bytes  112.00 bytes/sec",
        b"2026/11/22 14:21:09 [22832] building file list",
        b"Welcome to this mirror; >f+++++++++ is not for you",
        b"created directory new",
        b"rsync: [generator] >f failed",
        b"\xff\x00 noise",
    ],
)
def test_what_is_not_itemised_is_passed_over(line: bytes) -> None:
    """Progress, statistics, names of -v, greetings and unchanged entries are not changes, in either format."""
    assert read(line) == read(line, separated=True) == []


def test_the_prefix_of_a_log_file_is_no_part_of_a_line() -> None:
    """Date and process id are taken off, once."""
    line = b"2026/11/22 14:21:09 [22832] >f+++++++++ 2026/11/22 14:21:09 [1] a"
    assert read(line) == [put(Reading(b"2026/11/22 14:21:09 [1] a"))]


def test_progress_before_a_line_and_the_returns_of_a_terminal_are_taken_off() -> None:
    """A recorded terminal has carriage returns; those in a name are escaped."""
    assert read(b"    1,234  5%\r>f+++++++++ a\\#015b\r") == [put(Reading(b"a\rb"))]


def escape_controls(name: bytes) -> bytes:
    """Return a name as rsync prints it where every byte of it can be shown, and into log files."""
    return re.sub(rb"[\0-\037]|\\(?=#[0-9]{3})", lambda match: b"\\#%03o" % ord(match[0]), name)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("shown", [escape, escape_controls])
def test_odd_names_come_back(name: bytes, shown: Callable[[bytes], bytes]) -> None:
    """Escaped names are unescaped, and bytes that are not escaped are as they are."""
    assert read(b">f+++++++++ " + shown(name)) == [put(Reading(name))]
    assert read(b">f+++++++++ " + shown(name) + b"//", separated=True) == [put(Reading(name))]
    assert read(b"*deleting   " + shown(name) + b"///", separated=True) == [Itemised(True, (Reading(name),))]


def test_a_symlink_has_a_reading_for_every_arrow() -> None:
    """Each arrow may be the one before the target, and in a log without targets none is."""
    assert read(b"cL+++++++++ a -> b -> c") == [
        put(Reading(b"a", target=b"b -> c"), Reading(b"a -> b", target=b"c"), Reading(b"a -> b -> c"))
    ]


def test_a_hardlink_has_a_reading_for_every_double_arrow() -> None:
    """A hardlink of a file reads only double arrows, one of a symlink both kinds."""
    assert read(b"hf+++++++++ a -> b => c") == [
        put(Reading(b"a -> b", other=b"c"), Reading(b"a -> b => c"), linked=True)
    ]
    assert read(b"hL+++++++++ a -> b => c") == [
        put(Reading(b"a", target=b"b => c"), Reading(b"a -> b", other=b"c"), Reading(b"a -> b => c"), linked=True)
    ]


def test_our_own_format_has_one_reading() -> None:
    """Two slashes end the name, whatever arrows are before and behind them."""
    assert read(b"cL+++++++++ a -> b// -> c -> d//e", separated=True) == [put(Reading(b"a -> b", target=b"c -> d//e"))]
    assert read(b"hf+++++++++ a => b// => c", separated=True) == [put(Reading(b"a => b", other=b"c"), linked=True)]
    assert read(b"cd+++++++++ d///", b".d..t...... .///", b"cd+++++++++ /r/s///", separated=True) == [
        put(Reading(name), directory=True) for name in (b"d", b".", b"/r/s")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("placement", "name", "path"),
    [
        (Placement(), b"pool/a", b"pool/a"),
        (Placement(), b".", b""),
        (Placement(), b"/srv/a", b"srv/a"),
        (Placement(below=b"sub/dir"), b"a", b"sub/dir/a"),
        (Placement(below=b"sub/dir"), b".", b"sub/dir"),
        (Placement(above=b"mirror/debian"), b"mirror/debian/pool", b"pool"),
        (Placement(above=b"mirror/debian"), b"mirror/debian", b""),
        (Placement(above=b"mirror/debian"), b"mirror/debian2/pool", None),
        (Placement(above=b"mirror/debian"), b"mirror", None),
        (Placement(below=b"sub/file", single=True), b"name at the source", b"sub/file"),
    ],
)
def test_a_name_has_its_place_in_the_tree(placement: Placement, name: bytes, path: bytes | None) -> None:
    """Names are seen from the destination, which is the tree, a folder in it, above it, or a single file."""
    assert placement.place(name) == path


@pytest.mark.parametrize(
    "raw", [None, b"", b".~tmp~/a", b"d/.~tmp~/a", b".~pushmirror~/x", b"../a", b"a/../b", b"x" * 300]
)
def test_what_is_no_path_of_a_tree_is_left_out(raw: bytes | None) -> None:
    """The root, what lies outside, and reserved folders have no path."""
    assert trust_placed(raw) is None
