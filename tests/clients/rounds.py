"""A client that reads a mirror again and again while the Tier 1 goes on, and what each of its rounds was like."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tests.clients.announcing import Changes, compare, look
from tests.clients.repository import Repository
from tests.clients.web import WebServer

LONGEST_PAUSE_SECONDS = 2.0


class Client(Protocol):
    """Who reads a whole repository, beginning with nothing."""

    optional: tuple[str, ...]

    def read(self) -> list[str]:
        """Read everything; return what went wrong."""


@dataclass(frozen=True)
class Round:
    """One reading of the whole repository.

    `faults` is what the client complained about, `refused` what the web server did not have although the client was
    told of it; `version` is the Tier 1's when the round ended.
    """

    duration_seconds: float
    faults: tuple[str, ...]
    refused: tuple[str, ...]
    version: int
    tier1_moved: bool
    mirror_changed: bool

    @property
    def broken(self) -> bool:
        """Whether the client did not get the repository."""
        return bool(self.faults)


class Tier1Updates:
    """Takes `repository` from version to version, in a thread of its own, in a ``with`` block.

    `announce` is called after each version with what it changed; nobody waits for any mirror. Between two versions is a
    pause of up to two seconds, so that they meet the mirror's jobs at all stages.
    """

    def __init__(self, repository: Repository, announce: Callable[[Changes], object]) -> None:
        self._repository = repository
        self._announce = announce
        self._chance = random.Random(1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Tier1Updates:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def check(self) -> None:
        """Raise what ended the updates, if anything did."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            before = look(self._repository.root)
            while not self._stopping.wait(self._chance.uniform(0, LONGEST_PAUSE_SECONDS)):
                self._repository.step()
                after = look(self._repository.root)
                self._announce(compare(before, after))
                before = after
        except BaseException as error:
            self._error = error


def read_again_and_again(
    client: Client,
    web: WebServer,
    repository: Repository,
    mirror: Path,
    updates: Tier1Updates,
    is_enough: Callable[[Sequence[Round]], bool],
) -> list[Round]:
    """Have `client` read the mirror that `web` serves, without pause, until `is_enough`; return all rounds."""
    rounds: list[Round] = []
    while not is_enough(rounds):
        updates.check()
        rounds.append(_read_once(client, web, repository, mirror / repository.entry))
    return rounds


def _read_once(client: Client, web: WebServer, repository: Repository, entry: Path) -> Round:
    web.take_refused()
    version, content = repository.version, _content(entry)
    started = time.monotonic()
    faults = client.read()
    duration_seconds = time.monotonic() - started
    return Round(
        duration_seconds,
        tuple(faults),
        tuple(line for line in web.take_refused() if not line.endswith(client.optional)),
        repository.version,
        tier1_moved=repository.version != version,
        mirror_changed=_content(entry) != content,
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a client finds nothing there either, and says so
        return b""
