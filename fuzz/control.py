"""A line on the control socket of a subscriber: an answer, which is a refusal unless it is a request in order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fuzz.harness import Believed, make_folder
from fuzz.parties import HEAD, NOW_MS, PUBLISHER, TREE
from pushmirror.control.answers import answer_line
from pushmirror.control.protocol import ControlConnection
from pushmirror.settings.subscriber import SubscriberTree
from pushmirror.subscriber.dispatcher import Dispatcher
from pushmirror.subscriber.installed_rsync import ask_rsync
from pushmirror.subscriber.ledger import Ledger
from pushmirror.subscriber.operations import Operations
from pushmirror.subscriber.parts import make_parts
from pushmirror.subscriber.relay.copies import Copies
from pushmirror.subscriber.runner import Runner
from pushmirror.subscriber.status import Status

_CODES = (1, 2)
_FOLDER = make_folder()


class Desk:
    """The handlers of a subscriber with one tree, in whose reactor no time passes: what is asked for is not done."""

    def __init__(self, folder: Path) -> None:
        self.clock: Any = Clock()
        for name in ("mirror", "locks", "runs"):
            (folder / name).mkdir()
        settings = {"upstream": PUBLISHER, "source": "rsync://127.0.0.1/m/", "path": str(folder / "mirror")}
        parts = {TREE: make_parts(TREE, SubscriberTree.model_validate(settings), folder / "locks")}
        ledger = Ledger(folder / "ledger.sqlite")
        ledger.open_tree(TREE, parts[TREE].identity)
        ledger.start_over(TREE, HEAD, NOW_MS, NOW_MS, same_history=False)
        runner = Runner(self.clock, "true", folder / "runs", os.environ)
        dispatcher = Dispatcher(
            self.clock, parts, ledger, runner, 1, lambda: NOW_MS, lambda: 0.5, lambda *_: None, lambda tree: False
        )  # fmt: skip
        copies = Copies(ledger, ledger.kept, {TREE: PUBLISHER}, ())
        installed = ask_rsync("rsync", os.environ)
        status = Status("t2.example.net", {}, {TREE: PUBLISHER}, ledger, dispatcher, copies, installed)
        self.handlers: Any = Operations((TREE,), ledger, dispatcher, status, lambda: NOW_MS).handlers()

    def ask(self, data: bytes) -> bytes:
        """Return what a connection answers on which `data` is sent; empty while it waits for more."""
        gone: list[ControlConnection] = []
        connection = ControlConnection(self.clock, lambda line: answer_line(self.handlers, line), gone.append)
        transport: Any = StringTransport()
        connection.makeConnection(transport)
        connection.dataReceived(data)
        while transport.producer is not None:
            transport.producer.resumeProducing()
        connection.connectionLost()
        value: bytes = transport.value()
        return value


@cache
def desk() -> Desk:
    """Return the one that is asked everything."""
    return Desk(Path(_FOLDER.name))


def check(data: bytes) -> None:
    """Send `data`; what comes back is one line of JSON, and never an error that nobody foresaw."""
    answer = desk().ask(data)
    if not answer:
        assert b"\n" not in data, "a line was not answered"
        return
    told = json.loads(answer)
    assert answer.endswith(b"\n") and answer.count(b"\n") == 1
    assert told["ok"] or (told["code"] in _CODES and told["error"]), told
    assert told["ok"] or "internal error" not in told["error"], told
    if told.get("released"):
        raise Believed("deletions were released that nobody was shown")


def seeds() -> Iterable[bytes]:
    """Yield each request, in order and not."""
    for request in (
        {"command": "status"}, {"command": "sync", "tree": TREE}, {"command": "sync", "tree": TREE, "full": True},
        {"command": "sync", "tree": TREE, "paths": ["pool/a", "../b"]}, {"command": "approve", "tree": TREE},
        {"command": "approve", "tree": TREE, "release": True, "digest": "0" * 64}, {"command": "history", "tree": TREE},
        {"command": "refuse", "tree": TREE}, {"command": "pause", "tree": TREE}, {"command": "resume", "tree": TREE},
        {"command": "sync", "tree": [TREE]}, {"command": "sync", "tree": TREE, "paths": 7}, {"command": 7},
        {"command": "sync", "tree": TREE, "paths": "pool"}, {"command": "sync", "tree": TREE, "paths": [{}, None]},
        {"command": "sync", "tree": TREE, "paths": ["\ud800"]}, {"command": "a\nb" * 100}, [], 1,
    ):  # fmt: skip
        yield json.dumps(request).encode() + b"\n"
    yield b'{"command": "status"'
    yield b"[" * 5000 + b"\n"
    yield b'{"command": "status", "x": ' + b"9" * 5000 + b"}\n"
    yield b"\xff\xfe{}\n\n"
