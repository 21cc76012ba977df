"""What rsync prints, line by line as version 3.5.0 wrote it under LC_ALL=C."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.model import Stamp
from pushmirror.core.output import Items, Notes, parse_items, parse_notes, printable, unescape
from pushmirror.core.paths import TreePath
from pushmirror.core.source import Source

ROOT = Source("rsync://127.0.0.1/m/")
SUB = Source("rsync://127.0.0.1/m/", b"sub")


def path_set(*raw: bytes) -> frozenset[TreePath]:
    """Return `raw` as a set of paths."""
    return frozenset(map(TreePath, raw))


# The line, the path, and whether it is no directory, was created, counts as brought.
ITEMS: dict[bytes, tuple[bytes, bool, bool, bool]] = {
    b">f+++++++++ a": (b"a", True, True, True),
    b">f+++++++++ d/b": (b"d/b", True, True, True),
    b">f.st...... big": (b"big", True, False, True),
    b">f..t...... same size": (b"same size", True, False, True),
    b".f...p..... attr": (b"attr", True, False, False),
    b".f          same": (b"same", True, False, False),
    b".d          d/": (b"d", False, False, False),
    b".d..t...... d/e/": (b"d/e", False, False, False),
    b"cd+++++++++ secret/": (b"secret", False, True, True),
    b"hf+++++++++ second name": (b"second name", True, True, True),
    b"hf          second name": (b"second name", True, False, False),
    b"cL+++++++++ link": (b"link", True, True, True),
    b"cLc.T...... link": (b"link", True, False, True),
    b".L          link": (b"link", True, False, False),
    b"hL+++++++++ second link": (b"second link", True, True, True),
    b">f+++++++++ -dash": (b"-dash", True, True, True),
    b">f+++++++++ ar -> row": (b"ar -> row", True, True, True),
    b'>f+++++++++ q"uote': (b'q"uote', True, True, True),
    b">f+++++++++  lead": (b" lead", True, True, True),
    b">f+++++++++ trail ": (b"trail ", True, True, True),
    b">f+++++++++ new\\#012line": (b"new\nline", True, True, True),
    b">f+++++++++ cr\\#015": (b"cr\r", True, True, True),
    b">f+++++++++ lit\\#134#012x": (b"lit\\#012x", True, True, True),
    b">f+++++++++ lit\\#134#134#012": (b"lit\\#134#012", True, True, True),
    b">f+++++++++ back\\slash": (b"back\\slash", True, True, True),
    b">f+++++++++ gross\\#303\\#251": ("grossé".encode(), True, True, True),
    b">f+++++++++ \\#377\\#376": (b"\xff\xfe", True, True, True),
    b">f+++++++++ gross\xc3\xa9": ("grossé".encode(), True, True, True),
    b">f+++++++++ Total bytes received: 77": (b"Total bytes received: 77", True, True, True),
    b">f+++++++++ *deleting   x": (b"*deleting   x", True, True, True),
    b">f+++++++++ .f          x": (b".f          x", True, True, True),
    b"cd+++++++++ odd\\#134/": (b"odd\\", False, True, True),
}


@pytest.mark.parametrize(("line", "expected"), ITEMS.items(), ids=[ascii(line)[2:-1] for line in ITEMS])
def test_item(line: bytes, expected: tuple[bytes, bool, bool, bool]) -> None:
    """An itemised line names one path that is present, and tells what happened to it."""
    path, plain, created, brought = expected
    items = parse_items([line + b"\n"])
    assert items == Items(
        present=path_set(path),
        plain=path_set(path) if plain else frozenset(),
        changed=path_set(path) if line[2:11].strip() else frozenset(),
        linked=path_set(path) if line.startswith(b"h") else frozenset(),
        relinked=path_set(path) if line[2:11].strip() and line.startswith(b"h") else frozenset(),
        transferred=path_set(path) if line.startswith((b">", b"<")) else frozenset(),
        retimed=path_set(path) if line.startswith((b".d..t...... ", b".d..T...... ")) else frozenset(),
        new_directories=path_set(path) if line.startswith(b"cd") else frozenset(),
        links=path_set(path) if line.startswith((b"cL", b"hL")) else frozenset(),
        created=int(created),
        brought=int(brought),
    )


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"*deleting   gone/x\\#012y", b"gone/x\ny"),
        (b"*deleting   gone/", b"gone"),
        (b"*deleting    lead", b" lead"),
        (b"*deleting   lit\\#134#012", b"lit\\#012"),
        (b"*deleting   *deleting   x", b"*deleting   x"),
    ],
)
def test_deletion(line: bytes, path: bytes) -> None:
    """A deletion names the path that is gone, a directory without its slash."""
    assert parse_items([line]) == Items(deleted=(TreePath(path),))


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b'ignoring unsafe symlink "unsafe" -> "../../../etc"', b"unsafe"),
        (b'ignoring unsafe symlink "un\\#012s" -> "/etc"', b"un\ns"),
        (b'ignoring unsafe symlink "uns" -> "afe" -> "../../../q"', b'uns" -> "afe'),
        (b'skipping non-regular file "fifo"', b"fifo"),
        (b'skipping non-regular file "d/q"uote"', b'd/q"uote'),
    ],
)
def test_what_rsync_does_not_copy(line: bytes, path: bytes) -> None:
    """A link that leads out of the tree and a special file are there, and never come: they are not missing."""
    links = path_set(path) if b"symlink" in line else frozenset()
    assert parse_items([line]) == Items(present=path_set(path), plain=path_set(path), links=links)


STATISTICS = b"""
Number of files: 23 (reg: 16, dir: 3, link: 3, special: 1)
Number of created files: 13 (reg: 12, dir: 1)
Number of deleted files: 0
Number of regular files transferred: 12
Total file size: 46 bytes
Total transferred file size: 12 bytes
Literal data: 12 bytes
Matched data: 0 bytes
File list size: 645
File list generation time: 0.001 seconds
File list transfer time: 0.000 seconds
Total bytes sent: 642
Total bytes received: 1307

sent 642 bytes  received 1307 bytes  3898.00 bytes/sec
total size is 46  speedup is 0.02 (DRY RUN)
"""


def test_statistics() -> None:
    """The statistics at the end give the entries of the list, the root apart, and the bytes."""
    assert parse_items(STATISTICS.splitlines(keepends=True)) == Items(
        entries=22, transferred_bytes=12, received_bytes=1307
    )


def test_statistics_of_nothing() -> None:
    """A run that saw nothing has no entries; one that printed no statistics has an unknown number of them."""
    assert parse_items([b"Number of files: 0\n"]).entries == 0
    assert parse_items([b".d..t...... ./\n"]).entries is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"cannot delete non-empty directory: link",
        b"receiving incremental file list",
        b"a is uptodate",
        b"deleting a",
        b"*deleting a",
        b"*deleting   ",
        b">f+++++++++",
        b">f+++++++++ ",
        b">f++++++++ a",
        b">f++++++++++ a",
        b"xf+++++++++ a",
        b">x+++++++++ a",
        b" >f+++++++++ a",
        b'ignoring unsafe symlink "a"',
        b"Number of files: many",
        b"Number of files: " + b"9" * 5000,
        b"Total bytes received: " + b"9" * 19,
        b'ignoring unsafe symlink "" -> "x"',
        b'skipping non-regular file ""',
        b"-rw-r--r-- 1 2026/13/22 13:24:41 marker",
        b"-rw-r--r-- 1 2026/00/22 13:24:41 marker",
        b"-rw-r--r-- 1 0000/11/22 13:24:41 marker",
        b"-rw-r--r-- " + b"9" * 5000 + b" 2026/11/22 13:24:41 marker",
    ],
)
def test_other_lines(line: bytes) -> None:
    """A line of another form says nothing."""
    assert parse_items([line]) == Items()


def test_files_that_were_only_listed() -> None:
    """Size and time of plain files, in universal time; folders, links and what is no listing are passed over."""
    lines = [
        b"drwxr-xr-x           4096 2026/11/22 16:52:46 project",
        b"-rw-r--r--              3 2026/11/22 16:52:46 project/trace/x y",
        b"-rwsr-xr-t+   12345678901 1970/01/01 00:00:01 \\#012",
        b"lrwxrwxrwx              3 2026/11/22 16:52:46 link -> target",
        b"-rw-r--r--              3 2026/11/22 16:52 short",
    ]
    assert parse_items(lines).listed == (
        Stamp(TreePath(b"project/trace/x y"), 3, 1_795_366_366 * 10**9),
        Stamp(TreePath(b"\n"), 12_345_678_901, 10**9),
    )


def test_all_together() -> None:
    """Lines add up, whatever their order."""
    items = parse_items(
        [b">f+++++++++ a\n", b"*deleting   b\n", b"cd+++++++++ d/\n", b".f          c\n", *STATISTICS.splitlines()]
    )
    assert items.present == path_set(b"a", b"c", b"d")
    assert items.plain == path_set(b"a", b"c")
    assert items.new_directories == path_set(b"d")
    assert (items.created, items.brought, items.deleted, items.entries) == (2, 2, (b"b",), 22)


def escape(name: bytes) -> bytes:
    """Return `name` as rsync prints it: unprintable bytes, and a backslash before what looks like an escape."""
    printed = b""
    for position, byte in enumerate(name):
        follows = name[position + 1 : position + 5]
        looks_escaped = byte == 0x5C and follows[:1] == b"#" and len(follows) == 4 and follows[1:].isdigit()
        printed += f"\\#{byte:03o}".encode() if looks_escaped or not 0x20 <= byte < 0x7F else bytes([byte])
    return printed


@given(st.lists(st.sampled_from([b"\\", b"#", b"012", b"1", b"\n", b"\xff", b"a", b"8"]), max_size=8).map(b"".join))
def test_unescape(name: bytes) -> None:
    """What rsync escaped comes back."""
    assert unescape(escape(name)) == name


# Messages: the line, with the tree in the folder `sub` of the module.
NOTES: dict[bytes, Notes] = {
    b'file has vanished: "/sub/a" (in m)': Notes(vanished=path_set(b"a")),
    b'file has vanished: "sub/a" (in m)': Notes(vanished=path_set(b"a")),
    b'file has vanished: "/sub/new\\#012line" (in m)': Notes(vanished=path_set(b"new\nline")),
    b'file has vanished: "/sub/q"uote" (in m)': Notes(vanished=path_set(b'q"uote')),
    b'file has vanished: "/sub/x" (in y" (in m)': Notes(vanished=path_set(b'x" (in y')),
    b'file has vanished: "/sub/\\#377\\#376" (in m)': Notes(vanished=path_set(b"\xff\xfe")),
    b'directory has vanished: "/sub/d" (in m)': Notes(vanished=path_set(b"d")),
    b'rsync: [sender] link_stat "/sub/secret/f" (in m) failed: Permission denied (13)': Notes(
        unreadable=path_set(b"secret/f")
    ),
    b'rsync: [sender] send_files failed to open "/sub/priv" (in m): Permission denied (13)': Notes(
        unreadable=path_set(b"priv")
    ),
    b'rsync: [sender] opendir "/sub/secret" (in m) failed: Permission denied (13)': Notes(
        unreadable=path_set(b"secret")
    ),
    b'rsync: opendir "/sub/secret" (in m) failed: Permission denied (13)': Notes(unreadable=path_set(b"secret")),
    b'rsync: send_files failed to open "/sub/a b" (in m): Permission denied (13)': Notes(unreadable=path_set(b"a b")),
    b'rsync: [sender] readlink_stat("/sub/d/f" (in m)) failed: Permission denied (13)': Notes(
        unreadable=path_set(b"d/f")
    ),
    b'rsync: [sender] link_stat "/sub/f/x" (in m) failed: Not a directory (20)': Notes(superseded=path_set(b"f/x")),
    b'rsync: [sender] link_stat "/sub/l/x" (in m) failed: Too many levels of symbolic links (40)': Notes(
        superseded=path_set(b"l/x")
    ),
    b"rsync: [Receiver] read error: Connection reset by peer (104)": Notes(),
    b"could not make way for new symlink: link": Notes(clashes=(TreePath(b"link"),)),
    b"could not make way for new regular file: nl\\#012clash": Notes(clashes=(TreePath(b"nl\nclash"),)),
    b"could not make way for new device file: dev": Notes(clashes=(TreePath(b"dev"),)),
    b"": Notes(),
    b"  ": Notes(),
    b"rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1956)": Notes(),
    b"rsync warning: some files vanished before they could be transferred (code 24) at main.c(1956)": Notes(),
    b"cannot delete non-empty directory: link": Notes(),
    b"IO error encountered -- skipping file deletion": Notes(),
    b"WARNING: parent dir is absent in the file list: gone": Notes(),
}


@pytest.mark.parametrize(("line", "expected"), NOTES.items(), ids=[ascii(line)[2:-1] for line in NOTES])
def test_note(line: bytes, expected: Notes) -> None:
    """A complaint about one path is noted with it; what only sums up is not an error."""
    assert parse_notes([line + b"\n"], SUB) == expected


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        (b"@ERROR: max connections (1) reached -- try again later", {"busy", "refused"}),
        (b"@ERROR: Unknown module 'nomod'", {"refused"}),
        (b"@ERROR: access denied to m from UNDETERMINED (127.0.0.1)", {"refused"}),
        (b"Password: @ERROR: auth failed on module m", {"refused"}),
        (b"@ERROR: chroot failed", {"refused"}),
        (b"rsync: The server is configured to refuse --safe-links", {"refused"}),
        (b"rsync: The server is configured to refuse --hard-links (-H)", {"refused"}),
        (b'rsync: [receiver] write failed on "/srv/x/a": No space left on device (28)', {"no_space"}),
        (b'rsync: [receiver] mkstemp "/srv/x/.a.Xy" failed: Disk quota exceeded (122)', {"no_space"}),
        (b"rsync: [Receiver] safe_read failed to read 1 bytes: Connection reset by peer (104)", set()),
        (b'rsync: [sender] change_dir "missing" (in m) failed: No such file or directory (2)', set()),
        (b'rsync: [sender] change_dir "sub" (in m) failed: Permission denied (13)', set()),
        (b"rsync: [generator] delete_file: unlink(a) failed: Permission denied (13)", set()),
        (b'rsync: [receiver] mkstemp "/srv/x/.a.Xy" failed: Permission denied (13)', set()),
        (b'rsync: [sender] read errors mapping "/sub/a" (in m): Input/output error (5)', set()),
        (b"something entirely new", set()),
    ],
)
def test_error(line: bytes, flags: set[str]) -> None:
    """Every other message is an error, kept as text; some of them tell why at once."""
    assert parse_notes([line + b"\n"], SUB) == Notes(errors=(line.decode(),), **dict.fromkeys(flags, True))


@pytest.mark.parametrize(
    ("line", "source"),
    [
        (b'rsync: [sender] opendir "/sub/." (in m) failed: Permission denied (13)', SUB),
        (b'rsync: [sender] opendir "/sub" (in m) failed: Permission denied (13)', SUB),
        (b'rsync: [sender] opendir "." (in m) failed: Permission denied (13)', ROOT),
        (b'rsync: [sender] opendir "/." (in m) failed: Permission denied (13)', ROOT),
        (b'rsync: [sender] link_stat "." (in m) failed: Permission denied (13)', ROOT),
        (b'file has vanished: "/." (in m)', ROOT),
        (b'file has vanished: "/sub" (in m)', SUB),
    ],
)
def test_unreadable_root(line: bytes, source: Source) -> None:
    """When the root of the tree itself cannot be read, nothing was seen: that is an error, not an incomplete path."""
    notes = parse_notes([line], source)
    assert notes == Notes(errors=(line.decode(),))


def test_names_of_a_tree_that_is_a_module() -> None:
    """Without a folder in the module a name is the path itself, also when it equals a folder of the same name."""
    line = b'rsync: [sender] opendir "/sub" (in m) failed: Permission denied (13)'
    assert parse_notes([line], ROOT).unreadable == path_set(b"sub")


@pytest.mark.parametrize(
    "line",
    [
        b'rsync: [sender] opendir "/sub/file has vanished: "x" (in m)" (in m) failed: Permission denied (13)',
        b'rsync: [receiver] mkstemp "/srv/file has vanished: "x" (in m)" failed: Permission denied (13)',
        b'something rsync: opendir "/sub/x" (in m) failed: Permission denied (13)',
    ],
)
def test_a_name_is_no_message(line: bytes) -> None:
    """A file whose name reads like a message does not make rsync say it."""
    notes = parse_notes([line], SUB)
    assert not notes.vanished
    assert b"x" not in notes.unreadable


def test_errors_are_bounded() -> None:
    """A flood of errors is cut, but what they tell is not overlooked in it."""
    flood = [b"rsync: [receiver] error %d" % number for number in range(1000)]
    last = [
        b"No space left on device (28)",
        b"@ERROR: max connections (4) reached",
        b'file has vanished: "/sub/a" (in m)',
    ]
    notes = parse_notes([*flood, *last], SUB)
    assert 0 < len(notes.errors) < 100
    assert notes.errors[0] == "rsync: [receiver] error 0"
    assert (notes.no_space, notes.busy, notes.refused) == (True, True, True)
    assert notes.vanished == path_set(b"a")


LEADING_OUT = (b"../x", b"d/../../x", b"/etc/x", b"..", b"d//x", b"d/./x", b".~tmp~/x", b"x" * 256, b"\\#057etc")


@pytest.mark.parametrize("name", LEADING_OUT, ids=[ascii(name)[2:14] for name in LEADING_OUT])
def test_names_that_are_no_path_of_the_tree_are_left_out(name: bytes) -> None:
    """An upstream can have rsync print any line: what leads out is in no set of paths, and a complaint is an error."""
    forms = (
        b"cL+++++++++ %b", b"hL+++++++++ %b", b">f+++++++++ %b", b"cd+++++++++ %b/", b"*deleting   %b",
        b'ignoring unsafe symlink "%b" -> "/y"', b'skipping non-regular file "%b"',
        b"-rw-r--r--             11 2027/01/02 03:04:05 %b",
    )  # fmt: skip
    assert parse_items(form % name for form in forms) == Items()
    notes = parse_notes([b"could not make way for new regular file: " + name], ROOT)
    assert (notes.clashes, len(notes.errors)) == ((), 1)


@pytest.mark.parametrize("name", [b"../x", b"d/../../x", b".~tmp~/x"])
def test_what_is_said_of_a_path_that_leads_out_is_an_error(name: bytes) -> None:
    """It is neither vanished nor unreadable, so that nothing is left out for it."""
    notes = parse_notes(
        [
            b'file has vanished: "/%b" (in m)' % name,
            b'rsync: [sender] send_files failed to open "/%b" (in m): Permission denied (13)' % name,
            b'rsync: [sender] link_stat "/%b" (in m) failed: Not a directory (20)' % name,
        ],
        ROOT,
    )
    assert (notes.vanished, notes.unreadable, notes.superseded, len(notes.errors)) == (*3 * (frozenset(),), 3)


pieces = st.sampled_from(
    [
        b">f+++++++++ ",
        b"*deleting   ",
        b"\\#",
        b"012",
        b'"',
        b" (in m)",
        b"file has vanished: ",
        b"\n",
        b"\xff",
        b"/",
        b".",
    ]
)
lines = st.lists(st.binary(max_size=16) | st.lists(pieces, max_size=6).map(b"".join), max_size=8)


@given(lines)
def test_any_bytes(found: list[bytes]) -> None:
    """Whatever rsync prints: no exception, printable errors, and no flags out of nothing."""
    assert isinstance(parse_items(found), Items)
    notes = parse_notes(found, SUB)
    assert all(error.isprintable() for error in notes.errors)
    assert not (notes.busy or notes.refused or notes.no_space)
    assert b"" not in notes.vanished | notes.unreadable


@given(st.binary(max_size=80), st.integers(0, 40))
def test_printable(line: bytes, limit: int) -> None:
    """A line becomes text of at most so many printable characters."""
    text = printable(line, limit)
    assert text.isprintable()
    assert len(text) <= limit


def test_printable_keeps_text() -> None:
    """Printable text stays as it is; control characters become question marks, other bytes escapes."""
    assert printable("größe\x1b[31m\n".encode() + b"\xff") == "größe?[31m?\\xff"
    assert len(printable(b"x" * 1_000_000)) == 300
