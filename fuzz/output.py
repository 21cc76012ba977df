"""What an rsync prints whose other side is a stranger, and logs that somebody else's rsync has made."""

from __future__ import annotations

from collections.abc import Iterable

from fuzz.meaning import judge_path
from pushmirror.core.itemise import Placement, read_log, trust_placed
from pushmirror.core.output import has_clash, parse_items, parse_notes, printable
from pushmirror.core.progress import parse_progress
from pushmirror.core.rsyncd_conf import choose_module, parse_configuration, place_in, read_hiding
from pushmirror.core.source import Source

_SOURCES = (Source("rsync://127.0.0.1/m/"), Source("rsync://127.0.0.1/m/", b"sub"))
_PLACEMENTS = (Placement(), Placement(below=b"below"), Placement(above=b"above"), Placement(b"file", single=True))


def check(data: bytes) -> None:
    """Read `data` as output, as messages, as progress, as a log, and as an rsyncd.conf."""
    lines = data.splitlines(keepends=True)
    items = parse_items(lines)
    assert items.plain <= items.present and items.changed <= items.present
    named = {*items.present, *items.links, *items.deleted, *(stamp.path for stamp in items.listed)}
    assert items.brought >= 0 and (items.entries is None or items.entries >= 0)
    for source in _SOURCES:
        notes = parse_notes(lines, source)
        assert all(error.isprintable() for error in notes.errors) and len(notes.errors) <= 20
        assert b"" not in notes.vanished | notes.unreadable
        named.update(notes.vanished, notes.unreadable, notes.superseded, notes.clashes)
    for path in named:
        judge_path(path)
    assert printable(data).isprintable()
    has_clash(data)
    parse_progress(data)
    _check_log(lines)
    _check_configuration(data.decode("utf-8", "replace"))


def _check_log(lines: list[bytes]) -> None:
    for separated in (False, True):
        for item in read_log(lines, separated=separated):
            for reading in item.readings:
                for placement in _PLACEMENTS:
                    path = trust_placed(placement.place(reading.name))
                    if path is not None:
                        judge_path(path)


def _check_configuration(text: str) -> None:
    modules = parse_configuration(text).modules
    chosen = choose_module(modules, "/srv/mirror", None)
    if chosen is not None:
        assert "/srv/mirror".endswith(place_in(chosen, "/srv/mirror"))
    for module in modules:
        read_hiding(module, {"excludefrom": text.splitlines()})


def seeds() -> Iterable[bytes]:
    """Yield lines of each form."""
    yield from (
        b">f+++++++++ pool/a.deb\n.d..t...... pool/\ncd+++++++++ new/\nhf+++++++++ two => one\ncLc.T...... a -> b\n",
        b"cL+++++++++ ../out\ncd+++++++++ /etc/\n*deleting   d/../../out\ncould not make way for new link: ../out\n",
        b"*deleting   old/\n*deleting   new\\#012line\n.f          same\n>f.st...... lit\\#134#012x\n",
        b"Number of files: 2,011 (reg: 3)\nTotal transferred file size: 77 bytes\nTotal bytes received: 4096\n",
        b"Number of files: 2011\n-rw-r--r--          2,048 2026/11/22 13:24:41 project/trace/a\n",
        b"-rw-r--r--          2048 2026/11/22 13:24:41 marker\n-rw-r--r-- 1 0001/01/01 00:00:00 x\n",
        b'ignoring unsafe symlink "a" -> "/etc/passwd"\nskipping non-regular file "pipe"\n',
        b'file has vanished: "/sub/a" (in m)\nrsync: [sender] send_files failed to open "/a" (in m): Permission denied'
        b" (13)\n",
        b'rsync: [sender] link_stat "/sub/a/b" (in m) failed: Not a directory (20)\n'
        b"could not make way for new regular file: a\n",
        b"@ERROR: max connections (20) reached -- try again later\n@ERROR: Unknown module 'x'\n",
        b'rsync: write failed on "/x": No space left on device (28)\nrsync error: error in file IO (code 11)\n',
        b"\r        32,768 100%   31.25MB/s    0:00:00 (xfr#1, to-chk=0/3)\r         77  50% 1.0kB/s 0:00:01 (xfr#2, "
        b"ir-chk=1/9)",
        b"2026/11/22 14:21:09 [22832] >f+++++++++ pool/a.deb\n2026/11/22 14:21:09 [22832] *deleting   x//\n",
        b">f+++++++++ above/a//\ncL+++++++++ above/l// -> ../../etc\nhf+++++++++ b// => c\n",
        b"[m]\n path = /srv\n exclude = *.tmp /debug/ - a\n[global]\n&include x\nuid = x\ninclude from = f\\\n g\n",
    )
