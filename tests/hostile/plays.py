"""What a hostile upstream does with a connection, each in one way."""

from __future__ import annotations

import itertools
import stat
import struct
from collections.abc import Callable

from tests.hostile.daemon import Entry, Play, Session, directory, link

LINE = b"welcome " * 100 + b"\n"
PACE_S = 0.5


def talk_without_end(session: Session) -> None:
    """The message of the day never ends."""
    session.greet()
    while True:
        session.talk(LINE * 100)


def list_without_end(session: Session) -> None:
    """The file list never ends; it names what was asked for, again and again, or ever more of the whole tree."""
    session.greet()
    session.accept()
    for number in itertools.count():
        names = session.listed * 1000 or [b"%d-%d" % (number, entry) for entry in range(1000)]
        session.send(b"".join(Entry(name).packed() for name in names))


def send_without_end(session: Session) -> None:
    """The content of a file never ends, although the list says how long it is."""
    piece = b"x" * 30_000

    def send_content(session: Session, entry: Entry) -> None:
        while True:
            session.send_literal(piece)

    serve(session, send_content=send_content)


def never_answer(session: Session) -> None:
    """Not even a greeting, until the client goes."""
    session.gone.wait()


def never_list(session: Session) -> None:
    """All is well, until the list would be due."""
    session.greet()
    session.accept()
    never_answer(session)


def close_at_once(session: Session) -> None:
    """The connection is taken and dropped."""


def close_in_the_list(session: Session) -> None:
    """The list is cut off in the middle of an entry."""
    session.greet()
    session.accept()
    session.send(Entry(b"file", content=b"new").packed()[:-3])


def close_in_a_file(session: Session) -> None:
    """The content of a file is cut off."""

    def send_content(session: Session, entry: Entry) -> None:
        session.send_literal(b"half of")
        raise ConnectionAbortedError

    serve(session, send_content=send_content)


def corrupt_a_file(session: Session) -> None:
    """The content is not what its checksum says, each time it is asked for."""

    def send_content(session: Session, entry: Entry) -> None:
        session.send_literal(b"another")
        session.send(struct.pack("<i", 0) + bytes(16))

    serve(session, send_content=send_content)


def refuse(text: bytes) -> Play:
    """The upstream says no, and why, in its own words."""

    def play(session: Session) -> None:
        session.greet()
        session.talk(b"@ERROR: " + text + b"\n")

    return play


def drip(what: bytes) -> Play:
    """One byte a second until the client has gone, of the greeting or of the file list."""

    def play(session: Session) -> None:
        session.greet()
        if what == b"list":
            session.accept()
        send, data = (session.send, Entry(b"x" * 1000).packed()) if what == b"list" else (session.talk, LINE)
        for byte in itertools.cycle(data):
            send(bytes([byte]))
            if session.gone.wait(PACE_S):
                return

    return play


def serve(session: Session, *entries: Entry, send_content: Callable[[Session, Entry], None] | None = None) -> None:
    """Serve `entries`, or what was asked for as files of three bytes."""
    session.greet()
    session.accept()
    session.serve(entries or honest_entries(session), send_content)


def honest_entries(session: Session) -> list[Entry]:
    """Return an entry for each path that was asked for; for the whole tree, what the tests put into it."""
    if not session.listed:
        return [directory(b"."), directory(b"d"), Entry(b"d/kept", content=b"new"), Entry(b"file", content=b"new")]
    return [Entry(name, content=b"new") for name in session.listed]


def smuggle(*entries: Entry) -> Play:
    """Serve what was asked for, and some more."""

    def play(session: Session) -> None:
        session.greet()
        session.accept()
        session.serve([*honest_entries(session), *entries])

    return play


def forge(*printed: bytes, complained: bytes = b"") -> Play:
    """Have rsync print lines that look like its own; after a complaint there is nothing, and without one no list."""

    def play(session: Session) -> None:
        session.greet()
        session.accept()
        session.print_there(*printed)
        if complained:
            session.complain_there(complained)
            session.serve([])

    return play


SMUGGLED: dict[str, tuple[Entry, str]] = {
    "a file that was not asked for": (Entry(b"evil", content=b"evil"), "unrequested file-list name: evil"),
    "a path that climbs out": (Entry(b"../outside/evil", content=b"evil"), "unsafe pathname"),
    "a path that climbs out in the middle": (Entry(b"d/../../outside/evil", content=b"evil"), "unsafe pathname"),
    "an absolute path": (Entry(b"/outside/evil", content=b"evil"), "unrequested file-list name"),
    "our own folder": (Entry(b".~pushmirror~/metadata/evil", content=b"evil"), "unrequested file-list name"),
    "a missing folder that was not asked for": (Entry(b"d", 0), "invalid file mode"),
    "a file below a file": (Entry(b"file/evil", content=b"evil"), "invalid path from sender"),
    "a device": (Entry(b"device", stat.S_IFCHR | 0o666), "unrequested file-list name"),
    "a link that was not asked for": (link(b"evil", b"file"), "unrequested file-list name"),
    "a name without an end": (Entry(b"x" * 5000, content=b"evil"), "rsync exit code"),
}
