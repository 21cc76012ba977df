"""An rsync daemon of our own, which says whatever a test wants: a greeting, a file list, the content of files.

It speaks protocol 29, the last whose client sends plain bytes, and as much of it as a client asks for that mirrors.
"""

from __future__ import annotations

import contextlib
import socket
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from tests.hostile.md4 import md4

_PROTOCOL = 29
_SEED = 1
_MULTIPLEXED = 7
_COMPLAINT, _PRINTED = 1, 2
_EXTENDED_FLAGS, _LONG_NAME = 1 << 2, 1 << 6
_TRANSFER, _NAME_FOLLOWS, _BASIS_FOLLOWS = 1 << 15, 1 << 12, 1 << 11
_DONE = -1
_PIECE_BYTES = 60_000
_GIVE_UP_S = 30.0


@dataclass(frozen=True)
class Entry:
    """One entry of a file list, and what is sent when its content is asked for.

    A mode of 0 says that the path is missing.
    """

    name: bytes
    mode: int = stat.S_IFREG | 0o644
    content: bytes = b""
    target: bytes = b""
    mtime_s: int = 1_700_000_000
    size_bytes: int | None = None
    """What the list says, if that is not the length of the content."""

    def packed(self) -> bytes:
        """Return the entry as it stands in a list."""
        flags = _LONG_NAME | _EXTENDED_FLAGS
        size = len(self.target or self.content) if self.size_bytes is None else self.size_bytes
        length = struct.pack("<i", size) if size < 2**31 else struct.pack("<iq", -1, size)
        head = struct.pack("<HI", flags, len(self.name)) + self.name + length
        tail = struct.pack("<II", self.mtime_s, self.mode)
        if stat.S_ISLNK(self.mode):
            tail += struct.pack("<I", len(self.target)) + self.target
        return head + tail


def directory(name: bytes) -> Entry:
    """Return the entry of a directory."""
    return Entry(name, stat.S_IFDIR | 0o755)


def link(name: bytes, target: bytes) -> Entry:
    """Return the entry of a symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target=target)


def missing(name: bytes) -> Entry:
    """Return the entry by which a sender says that a listed path is not there: it has no mode."""
    return Entry(name, 0)


class Session:
    """One connection; every method raises OSError once the client has gone."""

    def __init__(self, connection: socket.socket, gone: threading.Event) -> None:
        self.connection = connection
        self.gone = gone
        """Set when the test is over; a send fails once the client has gone."""
        self.arguments: list[bytes] = []
        self.rules: list[bytes] = []
        self.listed: list[bytes] = []
        """What was asked for, unless the client asked for everything."""
        self._received = connection.makefile("rb")

    def close(self) -> None:
        """Close the connection, and what reads from it."""
        self._received.close()
        self.connection.close()

    # --- the beginning, in lines

    def greet(self) -> None:
        """Say which protocol is spoken, and read the same from the client, and the name of the module."""
        self.talk(b"@RSYNCD: %d\n" % _PROTOCOL)
        self._received.readline()
        self._received.readline()

    def talk(self, data: bytes) -> None:
        """Send bytes as they are: lines, as long as the client was not let in."""
        self.connection.sendall(data)

    def accept(self) -> None:
        """Let the client in, and read all that it asks."""
        self.talk(b"@RSYNCD: OK\n")
        while (argument := self._received.readline().rstrip(b"\n")) != b"":
            self.arguments.append(argument)
        self.talk(struct.pack("<i", _SEED))
        while length := self._integer():
            self.rules.append(self._exactly(length))
        if any(argument.startswith(b"--files-from") for argument in self.arguments):
            self.listed = self._read_listed()

    def _read_listed(self) -> list[bytes]:
        names = []
        while name := self._until_nul():
            names.append(name)
        return names

    def _until_nul(self) -> bytes:
        found = bytearray()
        while (byte := self._exactly(1)) != b"\0":
            found += byte
        return bytes(found)

    # --- the rest, in frames

    def send(self, data: bytes) -> None:
        """Send bytes of the protocol."""
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self.connection.sendall(struct.pack("<I", _MULTIPLEXED << 24 | len(piece)) + piece)

    def print_there(self, *lines: bytes) -> None:
        """Have the client print lines on its standard output, as if they were its own."""
        self._tell(_PRINTED, lines)

    def complain_there(self, *lines: bytes) -> None:
        """Have the client print lines on its standard error; it ends with code 23 then."""
        self._tell(_COMPLAINT, lines)

    def _tell(self, kind: int, lines: Sequence[bytes]) -> None:
        for line in lines:
            data = line + b"\n"
            self.connection.sendall(struct.pack("<I", (_MULTIPLEXED + kind) << 24 | len(data)) + data)

    def send_list(self, entries: Sequence[Entry]) -> None:
        """Send a whole file list."""
        self.send(b"".join(entry.packed() for entry in entries) + b"\0" + struct.pack("<i", 0))

    def serve(self, entries: Sequence[Entry], send_content: Callable[[Session, Entry], None] | None = None) -> None:
        """Send the list, and what is asked of it, to the end. `send_content` sends a file in its own way."""
        ordered = sorted(entries, key=_place)
        self.send_list(ordered)
        left = 3
        while left:
            index = self._integer()
            if index == _DONE:
                left -= 1
                self.send(struct.pack("<i", _DONE))
            else:
                self._answer(ordered, index, send_content)
        self.send(struct.pack("<5i", 0, 0, 0, 0, 0))
        self._integer()

    def _answer(
        self, ordered: Sequence[Entry], index: int, send_content: Callable[[Session, Entry], None] | None
    ) -> None:
        raw = self._exactly(2)
        (flags,) = struct.unpack("<H", raw)
        basis = self._exactly(1) if flags & _BASIS_FOLLOWS else b""
        name = self._name() if flags & _NAME_FOLLOWS else b""
        told = struct.pack("<i", index) + raw + basis + name
        if not flags & _TRANSFER:
            self.send(told)
            return
        count, _, digest_bytes, _ = struct.unpack("<4i", self._exactly(16))
        self._exactly(count * (4 + digest_bytes))
        self.send(told + struct.pack("<4i", 0, 0, 0, 0))
        entry = ordered[index]
        if send_content is not None:
            send_content(self, entry)
        else:
            self.send_literal(entry.content)
            self.send(struct.pack("<i", 0) + md4(struct.pack("<i", _SEED) + entry.content))

    def send_literal(self, content: bytes) -> None:
        """Send a part of the content of a file."""
        for start in range(0, len(content), _PIECE_BYTES // 2):
            piece = content[start : start + _PIECE_BYTES // 2]
            self.send(struct.pack("<i", len(piece)) + piece)

    def _name(self) -> bytes:
        length = first = self._exactly(1)
        if first[0] & 0x80:
            length = first + self._exactly(1)
            return length + self._exactly((first[0] & 0x7F) * 256 + length[1])
        return length + self._exactly(first[0])

    def _integer(self) -> int:
        number: int = struct.unpack("<i", self._exactly(4))[0]
        return number

    def _exactly(self, count: int) -> bytes:
        data = self._received.read(count)
        if len(data) < count:
            raise ConnectionError("the client has gone")
        return data


def _place(entry: Entry) -> tuple[tuple[bool, bytes], ...]:
    """Return where rsync sorts an entry: the files of a directory come before the directories in it."""
    parts = entry.name.split(b"/")
    is_directory = stat.S_ISDIR(entry.mode)
    return tuple(
        (number < len(parts) - 1 or (is_directory and entry.name != b"."), part) for number, part in enumerate(parts)
    )


Play = Callable[[Session], None]


class FakeDaemon:
    """Answers each connection with `play`, in a thread of its own, while the ``with`` block lasts."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.sessions: list[Session] = []
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def url(self, module: str) -> str:
        """Return the URL of a module; every module is there."""
        return f"rsync://127.0.0.1:{self.port}/{module}/"

    def __enter__(self) -> FakeDaemon:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for session in self.sessions:
            with contextlib.suppress(OSError):
                session.connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(_GIVE_UP_S)
            session = Session(connection, self._ended)
            self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session: Session) -> None:
        with contextlib.suppress(OSError):
            self.play(session)
        with contextlib.suppress(OSError):
            session.connection.shutdown(socket.SHUT_RDWR)
        session.close()
